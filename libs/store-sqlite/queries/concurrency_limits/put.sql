INSERT INTO concurrency_limits
    (namespace, name, has_slots, max_slots, max_starts, period, burst, on_collision, created_at, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
ON CONFLICT (namespace, name) DO UPDATE
SET has_slots = excluded.has_slots,
    max_slots = excluded.max_slots,
    max_starts = excluded.max_starts,
    period = excluded.period,
    burst = excluded.burst,
    on_collision = excluded.on_collision,
    updated_at = excluded.updated_at
RETURNING created_at
