-- Of rows that this transaction has locked.
UPDATE runs
SET due_at = new.due_at,
    state_at = new.state_at,
    epoch = new.epoch,
    attempt = new.attempt,
    crashes = new.crashes,
    retries = new.retries,
    event_seq = new.event_seq,
    cascade_pending = new.cascade_pending,
    state = new.state,
    state_name = new.state_name,
    state_message = new.state_message,
    resumed_keys = new.resumed_keys::text[],
    session_id = new.session_id,
    started_at = new.started_at,
    timer_at = new.timer_at,
    expires_at = new.expires_at,
    holder = new.holder,
    pause_key = new.pause_key,
    ended_at = new.ended_at,
    enqueued_at = new.enqueued_at
FROM UNNEST(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::boolean[], $10::text[], $11::text[], $12::text[], $13::text[], $14::uuid[],
    $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::text[], $20::bigint[], $21::bigint[]
) AS new (
    id, due_at, state_at, epoch, attempt, crashes, retries, event_seq, cascade_pending, state, state_name,
    state_message, resumed_keys, session_id, started_at, timer_at, expires_at, holder, pause_key, ended_at,
    enqueued_at
)
WHERE runs.id = new.id
