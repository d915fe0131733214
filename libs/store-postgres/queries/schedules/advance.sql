UPDATE schedules
SET next_fire_at = progress.next_fire_at,
    last_fire_at = progress.last_fire_at,
    last_run_id = progress.last_run_id,
    missed_count = progress.missed_count,
    last_error = progress.last_error
FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::text[])
    AS progress (id, next_fire_at, last_fire_at, last_run_id, missed_count, last_error)
WHERE schedules.id = progress.id
