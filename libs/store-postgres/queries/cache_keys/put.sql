INSERT INTO cache_keys (namespace, key, run_id, expires_at)
SELECT *
FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::bigint[]) AS new (namespace, key, run_id, expires_at)
ORDER BY namespace COLLATE "C", key COLLATE "C" -- so that two batches cannot deadlock
ON CONFLICT (namespace, key) DO UPDATE
SET run_id = EXCLUDED.run_id,
    expires_at = EXCLUDED.expires_at
