-- Of owners that this transaction has locked.
DELETE FROM concurrency_slots
WHERE owner = ANY($1)
RETURNING namespace, limit_name
