-- The largest id of what no partition was made for.
SELECT newest.run_id
FROM (
    (SELECT id FROM runs_default ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT run_id FROM run_payloads_default ORDER BY run_id DESC LIMIT 1)
    UNION ALL
    (SELECT run_id FROM run_failures_default ORDER BY run_id DESC LIMIT 1)
    UNION ALL
    (SELECT run_id FROM run_inputs_default ORDER BY run_id DESC LIMIT 1)
    UNION ALL
    (SELECT run_id FROM run_events_default ORDER BY run_id DESC LIMIT 1)
) AS newest (run_id)
ORDER BY newest.run_id DESC
LIMIT 1
