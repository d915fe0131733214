WITH handed AS MATERIALIZED (  -- locked in the order of runs/lock.sql
    SELECT runs.id
    FROM runs
    JOIN UNNEST($1::uuid[], $2::bigint[]) AS handed (id, epoch) ON runs.id = handed.id
    WHERE runs.epoch = handed.epoch
        AND runs.state = 'SCHEDULED'
    ORDER BY runs.id
    FOR NO KEY UPDATE OF runs
)
UPDATE runs
SET enqueued_at = $3
FROM handed
WHERE runs.id = handed.id
