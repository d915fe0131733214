-- A position is at least our own transaction's id and at least the id of every transaction that has ended: so it is
-- never below one that a reader has passed, and never below one that we waited for. Nothing else ends with our commit,
-- so it is readable as soon as no older transaction is under way.
INSERT INTO run_events (
    run_id, root_id, seq, occurred_at, attempt, epoch, ended, namespace, kind, name, state, state_name, message,
    holder, actor, position
)
SELECT
    event.run_id, event.root_id, event.seq, event.occurred_at, event.attempt, event.epoch, event.ended,
    event.namespace, event.kind, event.name, event.state, event.state_name, event.message, event.holder,
    event.actor,
    GREATEST(
        pg_current_xact_id()::text::bigint,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1
    )
FROM UNNEST(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[]
) WITH ORDINALITY AS event (
    run_id, root_id, seq, occurred_at, attempt, epoch, ended, namespace,
    kind, name, state, state_name, message, holder, actor, idx
)
ORDER BY event.idx -- the ids follow the order of the slice
