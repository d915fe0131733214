-- Whether a key or an artifact names a run of these ids.
SELECT EXISTS (SELECT FROM idempotency_keys WHERE run_id >= $1 AND run_id < $2)
    OR EXISTS (SELECT FROM cache_keys WHERE run_id >= $1 AND run_id < $2)
    OR EXISTS (SELECT FROM artifacts WHERE run_id >= $1 AND run_id < $2)
