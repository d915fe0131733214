-- A position is at least our own transaction's id and at least the id of every transaction that has ended: so it is
-- never below one that a reader has passed, and never below one that we waited for. Nothing else ends with our commit,
-- so it is readable as soon as no older transaction is under way.
--
-- The ids follow the order of the lists: a function is scanned in its order. A list with one element is that of all rows,
-- as in runs/insert.sql.
INSERT INTO run_events (
    run_id, root_id, seq, occurred_at, attempt, epoch, ended, namespace, kind, name, state, state_name, message,
    holder, actor, position
)
SELECT
    event.run_id,
    COALESCE(event.root_id, $2[1]),
    COALESCE(event.seq, $3[1]),
    COALESCE(event.occurred_at, $4[1]),
    COALESCE(event.attempt, $5[1]),
    COALESCE(event.epoch, $6[1]),
    COALESCE(event.ended, $7[1]),
    COALESCE(event.namespace, $8[1]),
    COALESCE(event.kind, $9[1]),
    COALESCE(event.name, $10[1]),
    COALESCE(event.state, $11[1]),
    COALESCE(event.state_name, $12[1]),
    COALESCE(event.message, $13[1]),
    CASE WHEN cardinality($14) = 1 THEN $14[1] ELSE event.holder END,
    CASE WHEN cardinality($15) = 1 THEN $15[1] ELSE event.actor END,
    GREATEST(
        pg_current_xact_id()::text::bigint,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1
    )
FROM UNNEST(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[]
) AS event (
    run_id, root_id, seq, occurred_at, attempt, epoch, ended, namespace, kind, name, state, state_name, message,
    holder, actor
)
