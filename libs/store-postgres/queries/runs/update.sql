-- Of rows that this transaction has locked. A list with one element is that of all rows, as in runs/insert.sql.
UPDATE runs
SET due_at = COALESCE(new.due_at, $2[1]),
    state_at = COALESCE(new.state_at, $3[1]),
    epoch = COALESCE(new.epoch, $4[1]),
    attempt = COALESCE(new.attempt, $5[1]),
    crashes = COALESCE(new.crashes, $6[1]),
    retries = COALESCE(new.retries, $7[1]),
    event_seq = COALESCE(new.event_seq, $8[1]),
    cascade_pending = COALESCE(new.cascade_pending, $9[1]),
    queue_slot = COALESCE(new.queue_slot, $22[1]),
    state = COALESCE(new.state, $10[1]),
    state_name = COALESCE(new.state_name, $11[1]),
    state_message = COALESCE(new.state_message, $12[1]),
    resumed_keys = COALESCE(new.resumed_keys, $13[1])::text[],
    session_id = CASE WHEN cardinality($14) = 1 THEN $14[1] ELSE new.session_id END,
    started_at = CASE WHEN cardinality($15) = 1 THEN $15[1] ELSE new.started_at END,
    timer_at = CASE WHEN cardinality($16) = 1 THEN $16[1] ELSE new.timer_at END,
    expires_at = CASE WHEN cardinality($17) = 1 THEN $17[1] ELSE new.expires_at END,
    holder = CASE WHEN cardinality($18) = 1 THEN $18[1] ELSE new.holder END,
    pause_key = CASE WHEN cardinality($19) = 1 THEN $19[1] ELSE new.pause_key END,
    ended_at = CASE WHEN cardinality($20) = 1 THEN $20[1] ELSE new.ended_at END,
    enqueued_at = CASE WHEN cardinality($21) = 1 THEN $21[1] ELSE new.enqueued_at END
FROM UNNEST(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::boolean[], $10::text[], $11::text[], $12::text[], $13::text[], $14::uuid[], $15::bigint[], $16::bigint[],
    $17::bigint[], $18::text[], $19::text[], $20::bigint[], $21::bigint[], $22::boolean[]
) AS new (
    id, due_at, state_at, epoch, attempt, crashes, retries, event_seq, cascade_pending, state, state_name,
    state_message, resumed_keys, session_id, started_at, timer_at, expires_at, holder, pause_key, ended_at,
    enqueued_at, queue_slot
)
WHERE runs.id = new.id
