-- Of each automation no more firings are looked at than it may have, and one.
WITH crowded AS MATERIALIZED (
    SELECT namespace, name
    FROM automations
    WHERE NOT is_paused
        AND (
            SELECT count(*)
            FROM (
                SELECT
                FROM automation_firings AS firings
                WHERE firings.namespace = automations.namespace
                    AND firings.automation = automations.name
                LIMIT $1 + 1
            ) AS counted
        ) > $1
    ORDER BY namespace, name -- so that it cannot deadlock with finished firings
    FOR UPDATE SKIP LOCKED
)
UPDATE automations
SET is_paused = true,
    last_error = $2
FROM crowded
WHERE automations.namespace = crowded.namespace
    AND automations.name = crowded.name
RETURNING automations.namespace, automations.name
