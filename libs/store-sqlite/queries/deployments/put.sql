INSERT INTO deployments (namespace, name, version, spec, created_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (namespace, name) DO UPDATE
SET version = EXCLUDED.version,
    spec = EXCLUDED.spec,
    updated_at = EXCLUDED.updated_at
