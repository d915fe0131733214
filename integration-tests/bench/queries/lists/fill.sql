-- $1 runs, spread over the 30 days before $2 (ms): nine in ten in one namespace; each tenth a flow with nine tasks below it;
-- 500 names, of which a few have most of the runs; the newest are open, and of the others few did not complete.
INSERT INTO runs (
    id, root_id, depth, priority, created_at, due_at, state_at, epoch, attempt, crashes, retries, event_seq,
    cascade_pending, detach_on_cancel, detach_on_failure, detach_on_crash, max_retries, backoff_factor,
    max_retry_delay, jitter_factor, max_crashes, start_timeout, cancel_grace, namespace, kind, name, run_name,
    state, state_name, state_message, tags, retry_delays, retry_on, never_retry_on, concurrency_limits,
    resumed_keys, labels, queue, parent_id, started_at, ended_at, holder, deployment
)
SELECT
    id, root_id, depth, priority, at, at, at + 2000000, 1, 1, 0, 0, 4,
    FALSE, FALSE, FALSE, FALSE, 0, 1, 0, 0, 3, 60000000, 60000000, namespace, kind, name,
    name || '-' || n, state, initcap(state), '', tags, '{}', '{}', '{}', '{}', '{}', labels,
    'queue-' || n % 20, parent_id,
    CASE WHEN state NOT IN ('SCHEDULED', 'PENDING') THEN at + 1000000 END,
    CASE WHEN state IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED') THEN at + 2000000 END,
    CASE WHEN state IN ('PENDING', 'RUNNING', 'CANCELLING') THEN 'worker:w-' || n % 50 END,
    deployment
FROM (
    SELECT
        n, ms * 1000 AS at, bench_uuid7(ms, n) AS id,
        CASE WHEN n % 10 = 0 THEN 'flow' ELSE 'task' END AS kind,
        CASE WHEN n % 10 = 0 THEN 0 ELSE 1 END AS depth,
        bench_uuid7(tenth_ms, n - n % 10) AS root_id,
        CASE WHEN n % 10 > 0 THEN bench_uuid7(tenth_ms, n - n % 10) END AS parent_id,
        (n % 7 - 3)::integer AS priority,
        -- 90 % in one namespace, the rest in ten others
        CASE WHEN n % 100 < 90 THEN 'default' ELSE 'tenant-' || (n / 100) % 10 END AS namespace,
        -- skewed: a few names have most of the runs, and there are 500
        'fn-' || floor(500 * power((h % 10007) / 10007.0, 3))::int AS name,
        CASE
            WHEN n > total - total / 200 THEN (ARRAY['SCHEDULED', 'SCHEDULED', 'SCHEDULED', 'PENDING', 'RUNNING'])[1 + h % 5]
            WHEN h % 1000 < 930 THEN 'COMPLETED'
            WHEN h % 1000 < 980 THEN 'FAILED'
            WHEN h % 1000 < 985 THEN 'CRASHED'
            WHEN h % 100000 = 99999 THEN 'PAUSED'
            ELSE 'CANCELLED'
        END AS state,
        CASE WHEN n % 5 = 0 THEN ARRAY['tag-' || floor(200 * power((h % 9973) / 9973.0, 3))::int, 'all'] ELSE '{}' END AS tags,
        CASE WHEN n % 4 = 0 THEN jsonb_build_object('team', 'team-' || h % 300, 'env', CASE WHEN h % 10 = 0 THEN 'prod' ELSE 'dev' END) ELSE '{}' END AS labels,
        CASE WHEN n % 10 = 0 AND n % 20 = 0 THEN 'fn-' || h % 50 || '/d-' || h % 40 END AS deployment
    FROM (
        SELECT n, total, ms_of.ms, ms_of.tenth_ms, abs(hashint8(n)::bigint) AS h
        FROM (SELECT $1::bigint AS total, $2::bigint AS now_ms) AS t,
            generate_series(1, $1::bigint) AS n,
            LATERAL (SELECT now_ms - 2592000000 + (n * 2592000000) / total AS ms,
                     now_ms - 2592000000 + ((n - n % 10) * 2592000000) / total AS tenth_ms) AS ms_of
    ) AS numbered
) AS drawn
