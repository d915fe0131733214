UPDATE automation_firings
SET due_at = ?2,
    n_tries = n_tries + 1
WHERE (namespace, automation, run_id, seq) IN (
    SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3 FROM json_each(?1)
)
