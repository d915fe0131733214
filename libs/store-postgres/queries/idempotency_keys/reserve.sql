-- Waits for a transaction under way that reserves the same key. The update of a key that is owned changes nothing:
-- it is there so that RETURNING tells the owner. The slice is sorted, so that two batches cannot deadlock.
INSERT INTO idempotency_keys AS owned (namespace, scope, key, run_id, params_hash, expires_at)
SELECT *
FROM UNNEST($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::bigint[])
ON CONFLICT (namespace, scope, key) DO UPDATE
SET run_id = CASE WHEN owned.expires_at <= $7 THEN EXCLUDED.run_id ELSE owned.run_id END,
    params_hash = CASE WHEN owned.expires_at <= $7 THEN EXCLUDED.params_hash ELSE owned.params_hash END,
    expires_at = CASE WHEN owned.expires_at <= $7 THEN EXCLUDED.expires_at ELSE owned.expires_at END
RETURNING namespace, scope, key, run_id, params_hash
