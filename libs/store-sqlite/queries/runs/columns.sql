-- What row::run reads, in its order. The other queries of this folder that give runs go on after it.
SELECT
    runs.id, runs.namespace, runs.kind, runs.name, runs.run_name, runs.queue, runs.session_id, runs.parent_id,
    runs.root_id, runs.depth, runs.policies, runs.priority, runs.tags, runs.labels, runs.deployment,
    runs.cache_key, runs.cache_expires_after, runs.concurrency_limits, runs.traceparent, runs.created_at,
    runs.due_at, runs.expires_at, runs.started_at, runs.state, runs.state_name, runs.state_message,
    runs.state_at, runs.holder, runs.timer_at, runs.epoch, runs.attempt, runs.crashes, runs.retries,
    runs.event_seq, runs.cascade_pending, runs.pause_key, runs.resumed_keys, runs.queue_slot,
    runs.fairness_key, runs.required_labels, runs.preferred_worker, runs.deployment_version,
    runs.work_pool, runs.schedule, runs.fire_at
