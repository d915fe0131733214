-- The runs are locked in id order, as by every batch, so that none of them leaves its holder meanwhile. No claim is
-- under way.
WITH held AS MATERIALIZED (
    SELECT id
    FROM runs
    WHERE namespace = $1
        AND queue = $2
        AND holder IS NOT NULL
        AND NOT queue_slot
    ORDER BY id
    FOR UPDATE
), marked AS (
    UPDATE runs
    SET queue_slot = TRUE
    FROM held
    WHERE runs.id = held.id
    RETURNING runs.id
)
INSERT INTO concurrency_slots (namespace, limit_name, owner, acquired_at)
SELECT $1, $3, id, $4
FROM marked
ON CONFLICT (namespace, limit_name, owner) DO NOTHING
