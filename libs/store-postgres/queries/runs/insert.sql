-- Arrays of arrays must be rectangular, so tags and delays come as the text of an array each.
INSERT INTO runs (
    id, root_id, depth, priority, created_at, due_at, state_at, epoch,
    attempt, crashes, retries, event_seq, cascade_pending, detached, max_retries,
    backoff_factor, max_retry_delay, jitter_factor, max_crashes, start_timeout,
    cancel_grace, namespace, kind, name, run_name, state, state_name,
    state_message, tags, retry_delays, queue, session_id, parent_id, run_timeout,
    started_at, timer_at, holder, traceparent, ended_at, enqueued_at
)
SELECT
    id, root_id, depth, priority, created_at, due_at, state_at, epoch,
    attempt, crashes, retries, event_seq, cascade_pending, detached, max_retries,
    backoff_factor, max_retry_delay, jitter_factor, max_crashes, start_timeout,
    cancel_grace, namespace, kind, name, run_name, state, state_name,
    state_message, tags::text[], retry_delays::bigint[], queue, session_id, parent_id, run_timeout,
    started_at, timer_at, holder, traceparent, ended_at, enqueued_at
FROM UNNEST(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::boolean[], $14::boolean[], $15::bigint[],
    $16::double precision[], $17::bigint[], $18::double precision[], $19::bigint[], $20::bigint[],
    $21::bigint[], $22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::text[],
    $28::text[], $29::text[], $30::text[], $31::text[], $32::uuid[], $33::uuid[], $34::bigint[],
    $35::bigint[], $36::bigint[], $37::text[], $38::text[], $39::bigint[], $40::bigint[]
) AS new (
    id, root_id, depth, priority, created_at, due_at, state_at, epoch,
    attempt, crashes, retries, event_seq, cascade_pending, detached, max_retries,
    backoff_factor, max_retry_delay, jitter_factor, max_crashes, start_timeout,
    cancel_grace, namespace, kind, name, run_name, state, state_name,
    state_message, tags, retry_delays, queue, session_id, parent_id, run_timeout,
    started_at, timer_at, holder, traceparent, ended_at, enqueued_at
)
ORDER BY id
ON CONFLICT (id) DO NOTHING
RETURNING id
