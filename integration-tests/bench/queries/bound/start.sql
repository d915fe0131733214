UPDATE runs
SET state = 'RUNNING',
    state_name = 'Running',
    state_at = $3,
    attempt = runs.attempt + 1,
    event_seq = runs.event_seq + 1,
    started_at = $3,
    timer_at = NULL
FROM UNNEST($1::uuid[], $2::bigint[]) AS asked (id, epoch)
WHERE runs.id = asked.id
    AND runs.epoch = asked.epoch
    AND runs.state = 'PENDING'
