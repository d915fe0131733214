INSERT INTO queues (namespace, name, max_slots, paused_at, paused_by, pause_reason, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (namespace, name) DO UPDATE
SET max_slots = EXCLUDED.max_slots,
    paused_at = EXCLUDED.paused_at,
    paused_by = EXCLUDED.paused_by,
    pause_reason = EXCLUDED.pause_reason,
    updated_at = EXCLUDED.updated_at
