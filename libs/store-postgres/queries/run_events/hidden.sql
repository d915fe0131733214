-- Whether a transaction under way still hides committed events from read_feed.sql.
SELECT COALESCE(MAX(position) >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint, FALSE)
FROM run_events
