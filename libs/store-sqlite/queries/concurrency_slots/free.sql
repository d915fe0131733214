DELETE FROM concurrency_slots
WHERE owner IN (SELECT unhex(value) FROM json_each(?1))
RETURNING namespace, limit_name
