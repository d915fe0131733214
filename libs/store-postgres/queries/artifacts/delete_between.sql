-- Of the runs of a partition that is about to go, up to $3.
WITH old AS MATERIALIZED (
    SELECT id
    FROM artifacts
    WHERE run_id >= $1
        AND run_id < $2
    ORDER BY id
    LIMIT $3
    FOR UPDATE
)
DELETE FROM artifacts
USING old
WHERE artifacts.id = old.id
