SELECT
    queues.namespace, queues.name, queues.max_slots, queues.paused_at, queues.paused_by, queues.pause_reason,
    queues.created_at, queues.updated_at
