INSERT INTO concurrency_limits AS limits
    (namespace, name, has_slots, max_slots, max_starts, period, burst, on_collision, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
ON CONFLICT (namespace, name) DO UPDATE
SET has_slots = EXCLUDED.has_slots,
    max_slots = EXCLUDED.max_slots,
    max_starts = EXCLUDED.max_starts,
    period = EXCLUDED.period,
    burst = EXCLUDED.burst,
    on_collision = EXCLUDED.on_collision,
    updated_at = EXCLUDED.updated_at
RETURNING limits.created_at
