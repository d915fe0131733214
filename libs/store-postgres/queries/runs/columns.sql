-- What row::run reads, in its order. The other queries of this folder that give runs go on after it.
SELECT
    runs.id, runs.root_id, runs.depth, runs.priority, runs.created_at, runs.due_at, runs.state_at, runs.epoch,
    runs.attempt, runs.crashes, runs.retries, runs.event_seq, runs.cascade_pending, runs.detach_on_cancel,
    runs.detach_on_failure, runs.detach_on_crash, runs.max_retries, runs.backoff_factor, runs.max_retry_delay,
    runs.jitter_factor, runs.max_crashes, runs.start_timeout, runs.cancel_grace, runs.namespace, runs.kind,
    runs.name, runs.run_name, runs.state, runs.state_name, runs.state_message, runs.tags, runs.retry_delays,
    runs.retry_on, runs.never_retry_on, runs.concurrency_limits, runs.resumed_keys, runs.labels::text,
    runs.queue, runs.session_id, runs.parent_id, runs.run_timeout, runs.late_after, runs.started_at,
    runs.timer_at, runs.expires_at, runs.holder, runs.traceparent, runs.deployment, runs.cache_key,
    runs.cache_expires_after, runs.pause_key, runs.queue_slot, runs.fairness_key,
    runs.required_labels::text, runs.preferred_worker, runs.deployment_version, runs.work_pool, runs.schedule,
    runs.fire_at
