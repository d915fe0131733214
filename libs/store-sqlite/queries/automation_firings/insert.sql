-- Of the events of run_events/append.sql. A firing that is there already was left by an earlier run with this id, which was
-- deleted.
INSERT INTO automation_firings (
    namespace, automation, run_id, seq, state, state_name, message, occurred_at, attempt, ended, n_tries, last_error,
    due_at
)
SELECT
    automations.namespace, automations.name, unhex(v ->> 0), v ->> 5, v ->> 6, v ->> 7, v ->> 8, v ->> 9, v ->> 11,
    v ->> 13, 0, '', v ->> 9
FROM (SELECT value AS v FROM json_each(?1))
CROSS JOIN automations
WHERE automations.namespace = v ->> 2
    AND NOT automations.is_paused
    AND (
        EXISTS (SELECT 1 FROM json_each(automations.states) WHERE value = v ->> 6)
        OR EXISTS (SELECT 1 FROM json_each(automations.state_names) WHERE value = v ->> 7)
    )
    AND (
        automations.each_attempt
        OR v ->> 13
        OR v ->> 6 NOT IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')
    )
ON CONFLICT (namespace, automation, run_id, seq) DO NOTHING
