WHERE run_id = ANY($4)
    AND (position, id) > ($1, $2)
    AND position < pg_snapshot_xmin(pg_current_snapshot())::text::bigint -- no transaction under way is below it
ORDER BY position, id
LIMIT $3
