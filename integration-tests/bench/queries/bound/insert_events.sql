INSERT INTO run_events (run_id, root_id, occurred_at, position{rest})
SELECT new.run_id, new.run_id, $2, pg_current_xact_id()::text::bigint{rest of pattern}
FROM UNNEST($1::uuid[]) AS new (run_id)
CROSS JOIN (SELECT * FROM run_events WHERE run_id = $3 AND seq = $4) AS pattern
