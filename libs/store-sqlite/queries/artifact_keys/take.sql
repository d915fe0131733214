INSERT INTO artifact_keys (namespace, key, last_version, updated_at)
SELECT value ->> 0, value ->> 1, value ->> 2, ?2
FROM json_each(?1)
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (namespace, key) DO UPDATE
SET last_version = artifact_keys.last_version + excluded.last_version,
    updated_at = excluded.updated_at
RETURNING namespace, key, last_version
