UPDATE automation_firings
SET due_at = finished.value ->> 7,
    given_up_at = CASE WHEN finished.value ->> 5 = 'given_up' THEN finished.value ->> 7 END,
    last_error = finished.value ->> 6
FROM json_each(?1) AS finished
WHERE automation_firings.namespace = finished.value ->> 0
    AND automation_firings.automation = finished.value ->> 1
    AND automation_firings.run_id = unhex(finished.value ->> 2)
    AND automation_firings.seq = finished.value ->> 3
    AND automation_firings.n_tries = finished.value ->> 4
    AND automation_firings.given_up_at IS NULL
    AND finished.value ->> 5 IN ('failed', 'given_up')
