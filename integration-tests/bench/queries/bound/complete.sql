UPDATE runs
SET state = 'COMPLETED',
    state_name = 'Completed',
    state_at = $3,
    event_seq = runs.event_seq + 1,
    holder = NULL,
    ended_at = $3
FROM UNNEST($1::uuid[], $2::bigint[]) AS asked (id, epoch)
WHERE runs.id = asked.id
    AND runs.epoch = asked.epoch
    AND runs.state = 'RUNNING'
