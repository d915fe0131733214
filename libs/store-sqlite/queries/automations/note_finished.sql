-- Before the firings that say so are gone. Of an automation's firings the last one of the list says what is kept of errors:
-- of the columns of a group, SQLite gives those of the row with the maximum.
UPDATE automations
SET n_succeeded = automations.n_succeeded + told.n_succeeded,
    n_given_up = automations.n_given_up + told.n_given_up,
    last_error = CASE WHEN automations.is_paused THEN automations.last_error ELSE told.error END, -- why it was paused
    last_succeeded_at = CASE WHEN told.n_succeeded > 0 THEN ?2 ELSE automations.last_succeeded_at END
FROM (
    SELECT
        firings.namespace,
        firings.automation,
        max(finished.key),
        finished.value ->> 6 AS error, -- '' of one that succeeded
        sum(finished.value ->> 5 = 'succeeded') AS n_succeeded,
        sum(finished.value ->> 5 = 'given_up') AS n_given_up
    FROM json_each(?1) AS finished
    CROSS JOIN automation_firings AS firings
    WHERE firings.namespace = finished.value ->> 0
        AND firings.automation = finished.value ->> 1
        AND firings.run_id = unhex(finished.value ->> 2)
        AND firings.seq = finished.value ->> 3
        AND firings.n_tries = finished.value ->> 4
        AND firings.given_up_at IS NULL
        AND finished.value ->> 5 <> 'dropped'
    GROUP BY firings.namespace, firings.automation
) AS told
WHERE automations.namespace = told.namespace
    AND automations.name = told.automation
