-- The last position of which read_feed.sql gives all.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1, 9223372036854775807
