WITH old AS MATERIALIZED (
    SELECT namespace, automation, run_id, seq
    FROM automation_firings
    WHERE given_up_at < $1
    ORDER BY given_up_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM automation_firings AS firings
USING old
WHERE firings.namespace = old.namespace
    AND firings.automation = old.automation
    AND firings.run_id = old.run_id
    AND firings.seq = old.seq
