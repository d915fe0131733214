INSERT INTO schedules (
    namespace, deployment, name, id, version, spec, paused_at, paused_by, pause_reason, created_at, updated_at,
    next_fire_at, last_fire_at, last_run_id, missed_count, last_error
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT (namespace, deployment, name) DO UPDATE
SET version = EXCLUDED.version,
    spec = EXCLUDED.spec,
    paused_at = EXCLUDED.paused_at,
    paused_by = EXCLUDED.paused_by,
    pause_reason = EXCLUDED.pause_reason,
    updated_at = EXCLUDED.updated_at,
    next_fire_at = EXCLUDED.next_fire_at,
    last_fire_at = EXCLUDED.last_fire_at,
    last_run_id = EXCLUDED.last_run_id,
    missed_count = EXCLUDED.missed_count,
    last_error = EXCLUDED.last_error
