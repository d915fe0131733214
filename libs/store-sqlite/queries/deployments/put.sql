INSERT INTO deployments (namespace, name, version, spec, created_at, updated_at, work_pool)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (namespace, name) DO UPDATE
SET version = EXCLUDED.version,
    spec = EXCLUDED.spec,
    updated_at = EXCLUDED.updated_at,
    work_pool = EXCLUDED.work_pool
