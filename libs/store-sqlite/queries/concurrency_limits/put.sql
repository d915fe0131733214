INSERT INTO concurrency_limits (namespace, name, max_slots, created_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?4)
ON CONFLICT (namespace, name) DO UPDATE
SET max_slots = excluded.max_slots,
    updated_at = excluded.updated_at
RETURNING created_at
