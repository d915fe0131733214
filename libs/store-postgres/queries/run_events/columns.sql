-- What row::event reads, in its order. The other queries of this folder that give events go on after it.
SELECT
    run_id, root_id, seq, occurred_at, attempt, epoch, ended, namespace, kind, name, state, state_name, message,
    holder, actor, position, id
FROM run_events
