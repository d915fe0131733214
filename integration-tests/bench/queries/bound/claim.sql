UPDATE runs
SET state = 'PENDING',
    state_name = 'Pending',
    state_at = $3,
    epoch = runs.epoch + 1,
    event_seq = runs.event_seq + 1,
    holder = $4,
    timer_at = $3 + runs.start_timeout,
    enqueued_at = NULL
FROM UNNEST($1::uuid[], $2::bigint[]) AS asked (id, epoch)
WHERE runs.id = asked.id
    AND runs.epoch = asked.epoch
    AND runs.state = 'SCHEDULED'
