-- With its firings.
WITH gone AS (
    DELETE FROM automations
    WHERE namespace = $1
        AND name = $2
)
DELETE FROM automation_firings
WHERE namespace = $1
    AND automation = $2
