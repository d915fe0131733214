UPDATE schedules
SET next_fire_at = progress.value ->> 1,
    last_fire_at = progress.value ->> 2,
    last_run_id = unhex(progress.value ->> 3),
    missed_count = progress.value ->> 4,
    last_error = progress.value ->> 5
FROM json_each(?1) AS progress
WHERE schedules.id = unhex(progress.value ->> 0)
