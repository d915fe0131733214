DELETE FROM automation_firings
WHERE (namespace, automation, run_id, seq, n_tries) IN (
        SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4
        FROM json_each(?1)
        WHERE value ->> 5 IN ('succeeded', 'dropped')
    )
    AND given_up_at IS NULL
