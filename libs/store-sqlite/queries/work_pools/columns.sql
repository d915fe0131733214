SELECT
    work_pools.namespace, work_pools.name, work_pools.version, work_pools.spec, work_pools.paused_at,
    work_pools.paused_by, work_pools.pause_reason, work_pools.created_at, work_pools.updated_at
