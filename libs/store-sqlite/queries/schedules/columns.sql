SELECT
    schedules.namespace, schedules.deployment, schedules.name, schedules.id, schedules.version, schedules.spec,
    schedules.paused_at, schedules.paused_by, schedules.pause_reason, schedules.created_at, schedules.updated_at,
    schedules.next_fire_at, schedules.last_fire_at, schedules.last_run_id, schedules.missed_count,
    schedules.last_error
