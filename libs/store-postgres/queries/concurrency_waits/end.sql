-- Of runs that this transaction has locked.
DELETE FROM concurrency_waits
WHERE run_id = ANY($1)
    AND expires_at IS NULL
RETURNING namespace, limit_name
