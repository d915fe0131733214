-- Of runs that this transaction has locked.
DELETE FROM concurrency_waits
WHERE run_id = ANY($1)
RETURNING namespace, limit_name
