-- A position is at least our own transaction's id and at least the id of every transaction that has ended: so it is
-- never below one that a reader has passed, and never below one that we waited for. Nothing else ends with our commit,
-- so it is readable as soon as no older transaction is under way.
--
-- The ids follow the order of the lists: a function is scanned in its order. A list with one element is that of all rows,
-- as in runs/insert.sql.
--
-- What the events set off is written with them. Where no automation may be set off, the events are not looked at for it:
-- the first condition is asked once. OFFSET 0 has the automations found for each event, and not the events for each
-- automation. A firing that is there already was left by an earlier run with this id, which was deleted; who still carries that
-- one out knows it by its number of tries.
WITH fired AS (
    INSERT INTO automation_firings (
        run_id, seq, occurred_at, due_at, attempt, n_tries, ended, is_filtered, namespace, automation, state, state_name,
        message, last_error
    )
    SELECT
        event.run_id,
        event.seq,
        event.occurred_at,
        event.occurred_at,
        event.attempt,
        0,
        event.ended,
        set_off.filter = '',
        event.namespace,
        set_off.name,
        event.state,
        event.state_name,
        event.message,
        ''
    FROM (
        SELECT
            event.run_id,
            COALESCE(event.seq, $3[1]) AS seq,
            COALESCE(event.occurred_at, $4[1]) AS occurred_at,
            COALESCE(event.attempt, $5[1]) AS attempt,
            COALESCE(event.ended, $7[1]) AS ended,
            COALESCE(event.namespace, $8[1]) AS namespace,
            COALESCE(event.state, $11[1]) AS state,
            COALESCE(event.state_name, $12[1]) AS state_name,
            COALESCE(event.message, $13[1]) AS message
        FROM UNNEST(
            $1::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $7::boolean[], $8::text[], $11::text[],
            $12::text[], $13::text[]
        ) AS event (run_id, seq, occurred_at, attempt, ended, namespace, state, state_name, message)
    ) AS event
    CROSS JOIN LATERAL (
        SELECT automations.name, automations.filter
        FROM automations
        WHERE automations.namespace = event.namespace
            AND NOT automations.is_paused
            AND (event.state = ANY(automations.states) OR event.state_name = ANY(automations.state_names))
            AND (
                automations.each_attempt
                OR event.ended
                OR event.state NOT IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')
            )
        OFFSET 0
    ) AS set_off
    WHERE EXISTS (SELECT FROM automations WHERE NOT automations.is_paused)
    ON CONFLICT (namespace, automation, run_id, seq) DO UPDATE
    SET occurred_at = excluded.occurred_at,
        due_at = excluded.due_at,
        given_up_at = NULL,
        attempt = excluded.attempt,
        n_tries = automation_firings.n_tries + 1,
        ended = excluded.ended,
        is_filtered = excluded.is_filtered,
        state = excluded.state,
        state_name = excluded.state_name,
        message = excluded.message,
        last_error = excluded.last_error
)
INSERT INTO run_events (
    run_id, root_id, seq, occurred_at, attempt, epoch, ended, namespace, kind, name, state, state_name, message,
    holder, actor, position
)
SELECT
    event.run_id,
    COALESCE(event.root_id, $2[1]),
    COALESCE(event.seq, $3[1]),
    COALESCE(event.occurred_at, $4[1]),
    COALESCE(event.attempt, $5[1]),
    COALESCE(event.epoch, $6[1]),
    COALESCE(event.ended, $7[1]),
    COALESCE(event.namespace, $8[1]),
    COALESCE(event.kind, $9[1]),
    COALESCE(event.name, $10[1]),
    COALESCE(event.state, $11[1]),
    COALESCE(event.state_name, $12[1]),
    COALESCE(event.message, $13[1]),
    CASE WHEN cardinality($14) = 1 THEN $14[1] ELSE event.holder END,
    CASE WHEN cardinality($15) = 1 THEN $15[1] ELSE event.actor END,
    GREATEST(
        pg_current_xact_id()::text::bigint,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1
    )
FROM UNNEST(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[]
) AS event (
    run_id, root_id, seq, occurred_at, attempt, epoch, ended, namespace, kind, name, state, state_name, message,
    holder, actor
)
