INSERT INTO work_pools
    (namespace, name, version, spec, paused_at, paused_by, pause_reason, created_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (namespace, name) DO UPDATE
SET version = EXCLUDED.version,
    spec = EXCLUDED.spec,
    paused_at = EXCLUDED.paused_at,
    paused_by = EXCLUDED.paused_by,
    pause_reason = EXCLUDED.pause_reason,
    updated_at = EXCLUDED.updated_at
