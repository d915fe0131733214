INSERT INTO artifact_keys (namespace, key, last_version, updated_at)
SELECT namespace, key, n_versions, $4
FROM UNNEST($1::text[], $2::text[], $3::bigint[]) AS new (namespace, key, n_versions)
ORDER BY namespace COLLATE "C", key COLLATE "C" -- so that two batches cannot deadlock
ON CONFLICT (namespace, key) DO UPDATE
SET last_version = artifact_keys.last_version + EXCLUDED.last_version,
    updated_at = EXCLUDED.updated_at
RETURNING namespace, key, last_version
