-- Of each automation no more firings are looked at than it may have, and one.
UPDATE automations
SET is_paused = TRUE,
    last_error = ?2
WHERE NOT is_paused
    AND (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM automation_firings AS firings
            WHERE firings.namespace = automations.namespace
                AND firings.automation = automations.name
            LIMIT ?1 + 1
        )
    ) > ?1
RETURNING namespace, name
