INSERT INTO runs (
    id, namespace, kind, name, run_name, queue, session_id, parent_id, root_id, depth, policies, priority,
    tags, labels, deployment, cache_key, cache_expires_after, concurrency_limits, traceparent, created_at,
    due_at, expires_at, started_at, state, state_name, state_message, state_at, holder, timer_at, epoch,
    attempt, crashes, retries, event_seq, cascade_pending, pause_key, resumed_keys, ended_at, enqueued_at,
    fairness_key, required_labels, preferred_worker, deployment_version, work_pool, job, schedule, fire_at
)
SELECT
    unhex(v ->> 0), v ->> 1, v ->> 2, v ->> 3, v ->> 4, v ->> 5, unhex(v ->> 6), unhex(v ->> 7),
    unhex(v ->> 8), v ->> 9, v -> 10, v ->> 11, v -> 12, v -> 13, v ->> 14, v ->> 15, v ->> 16, v -> 17,
    v ->> 18, v ->> 19, v ->> 20, v ->> 21, v ->> 22, v ->> 23, v ->> 24, v ->> 25, v ->> 26, v ->> 27,
    v ->> 28, v ->> 29, v ->> 30, v ->> 31, v ->> 32, v ->> 33, v ->> 34, v ->> 35, v -> 36, v ->> 37, v ->> 38,
    v ->> 39, v ->> 40, v ->> 41, v ->> 42, v ->> 43, unhex(v ->> 44), v ->> 45,
    v ->> 46
FROM (SELECT value AS v FROM json_each(?1))
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (id) DO NOTHING
RETURNING id
