-- Of runs that this transaction has locked.
SELECT namespace, limit_name, run_id, handed_at = 0 OR reserved_until > $2 AS is_in_line
FROM concurrency_waits
WHERE run_id = ANY($1)
    AND expires_at IS NULL
