-- What bulk::operation reads, in its order. The other queries of this folder that read go on after it.
SELECT
    id, namespace, action, filter, tree_run_id, reason, actor, pause_timeout, created_at, state, ended_at,
    cursor_depth, cursor, lease_until, n_matched, n_done, skipped::text
FROM bulk_operations
