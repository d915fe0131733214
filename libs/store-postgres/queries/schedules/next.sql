SELECT next_fire_at
FROM schedules
WHERE next_fire_at IS NOT NULL
ORDER BY next_fire_at
LIMIT 1
