INSERT INTO queues (namespace, name, max_slots, paused_at, paused_by, pause_reason, created_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (namespace, name) DO UPDATE
SET max_slots = excluded.max_slots,
    paused_at = excluded.paused_at,
    paused_by = excluded.paused_by,
    pause_reason = excluded.pause_reason,
    updated_at = excluded.updated_at
