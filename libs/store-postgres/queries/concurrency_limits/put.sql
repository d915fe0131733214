INSERT INTO concurrency_limits AS limits (namespace, name, max_slots, created_at, updated_at)
VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (namespace, name) DO UPDATE
SET max_slots = EXCLUDED.max_slots,
    updated_at = EXCLUDED.updated_at
RETURNING limits.created_at
