-- Of the events of run_events/append.sql. A firing that is there already was left by an earlier run with this id, which was
-- deleted; who still carries that one out knows it by its number of tries.
INSERT INTO automation_firings (
    namespace, automation, run_id, seq, state, state_name, message, occurred_at, attempt, ended, is_filtered, n_tries,
    last_error, due_at
)
SELECT
    automations.namespace, automations.name, unhex(v ->> 0), v ->> 5, v ->> 6, v ->> 7, v ->> 8, v ->> 9, v ->> 11,
    v ->> 13, automations.filter = '', 0, '', v ->> 9
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
ON CONFLICT (namespace, automation, run_id, seq) DO UPDATE
SET state = excluded.state,
    state_name = excluded.state_name,
    message = excluded.message,
    occurred_at = excluded.occurred_at,
    attempt = excluded.attempt,
    ended = excluded.ended,
    is_filtered = excluded.is_filtered,
    n_tries = automation_firings.n_tries + 1,
    last_error = excluded.last_error,
    due_at = excluded.due_at,
    given_up_at = NULL
