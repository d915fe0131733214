-- What row::event reads, in its order. The other queries of this folder that give events go on after it.
SELECT
    run_id, root_id, namespace, kind, name, seq, state, state_name, message, occurred_at, holder, attempt, epoch,
    ended, actor, position
FROM run_events
