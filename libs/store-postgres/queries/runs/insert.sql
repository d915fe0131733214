-- Arrays of arrays must be rectangular, so lists come as the text of an array each.
INSERT INTO runs (
    id, root_id, depth, priority, created_at, due_at, state_at, epoch, attempt, crashes, retries, event_seq,
    cascade_pending, detach_on_cancel, detach_on_failure, detach_on_crash, max_retries, backoff_factor,
    max_retry_delay, jitter_factor, max_crashes, start_timeout, cancel_grace, namespace, kind, name, run_name,
    state, state_name, state_message, tags, retry_delays, retry_on, never_retry_on, concurrency_limits,
    resumed_keys, labels, queue, session_id, parent_id, run_timeout, late_after, started_at, timer_at,
    expires_at, holder, traceparent, deployment, cache_key, cache_expires_after, pause_key, ended_at,
    enqueued_at
)
SELECT
    id, root_id, depth, priority, created_at, due_at, state_at, epoch, attempt, crashes, retries, event_seq,
    cascade_pending, detach_on_cancel, detach_on_failure, detach_on_crash, max_retries, backoff_factor,
    max_retry_delay, jitter_factor, max_crashes, start_timeout, cancel_grace, namespace, kind, name, run_name,
    state, state_name, state_message, tags::text[], retry_delays::bigint[], retry_on::text[],
    never_retry_on::text[], concurrency_limits::text[], resumed_keys::text[], labels::jsonb, queue, session_id,
    parent_id, run_timeout, late_after, started_at, timer_at, expires_at, holder, traceparent, deployment,
    cache_key, cache_expires_after, pause_key, ended_at, enqueued_at
FROM UNNEST(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::boolean[], $14::boolean[],
    $15::boolean[], $16::boolean[], $17::bigint[], $18::double precision[], $19::bigint[],
    $20::double precision[], $21::bigint[], $22::bigint[], $23::bigint[], $24::text[], $25::text[],
    $26::text[], $27::text[], $28::text[], $29::text[], $30::text[], $31::text[], $32::text[], $33::text[],
    $34::text[], $35::text[], $36::text[], $37::text[], $38::text[], $39::uuid[], $40::uuid[], $41::bigint[],
    $42::bigint[], $43::bigint[], $44::bigint[], $45::bigint[], $46::text[], $47::text[], $48::text[],
    $49::text[], $50::bigint[], $51::text[], $52::bigint[], $53::bigint[]
) AS new (
    id, root_id, depth, priority, created_at, due_at, state_at, epoch, attempt, crashes, retries, event_seq,
    cascade_pending, detach_on_cancel, detach_on_failure, detach_on_crash, max_retries, backoff_factor,
    max_retry_delay, jitter_factor, max_crashes, start_timeout, cancel_grace, namespace, kind, name, run_name,
    state, state_name, state_message, tags, retry_delays, retry_on, never_retry_on, concurrency_limits,
    resumed_keys, labels, queue, session_id, parent_id, run_timeout, late_after, started_at, timer_at,
    expires_at, holder, traceparent, deployment, cache_key, cache_expires_after, pause_key, ended_at,
    enqueued_at
)
ORDER BY id
ON CONFLICT (id) DO NOTHING
RETURNING id
