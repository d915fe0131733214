-- Of runs that this transaction has locked.
SELECT namespace, limit_name, run_id
FROM concurrency_waits
WHERE run_id = ANY($1)
    AND expires_at IS NULL
