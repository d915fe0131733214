UPDATE automation_firings
SET is_filtered = TRUE
WHERE (namespace, automation, run_id, seq, occurred_at) IN (
        SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4
        FROM json_each(?1)
        WHERE value ->> 5
    )
    AND NOT is_filtered
