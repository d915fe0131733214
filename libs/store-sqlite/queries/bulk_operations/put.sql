INSERT INTO bulk_operations (
    id, namespace, action, filter, tree_run_id, reason, actor, pause_timeout, created_at, state, ended_at,
    cursor_depth, cursor, lease_until, n_matched, n_done, skipped
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
ON CONFLICT (id) DO NOTHING
