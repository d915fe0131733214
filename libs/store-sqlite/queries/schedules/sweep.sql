FROM schedules
WHERE schedules.next_fire_at IS NOT NULL
    AND schedules.next_fire_at <= ?1
ORDER BY schedules.next_fire_at
LIMIT ?2
