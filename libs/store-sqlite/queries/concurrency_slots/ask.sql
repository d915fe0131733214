UPDATE concurrency_slots
SET asked = 1
WHERE (namespace, limit_name, owner) IN (
    SELECT value ->> 0, value ->> 1, unhex(value ->> 2)
    FROM json_each(?1)
)
    AND asked = 0
