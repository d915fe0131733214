-- One look into the index for each automation that has firings, and one where none has: neither the number of firings nor
-- that of automations without any is felt.
WITH RECURSIVE awaited AS (
    (
        SELECT firings.namespace, firings.automation
        FROM automation_firings AS firings
        WHERE firings.given_up_at IS NULL
            AND firings.is_filtered
        ORDER BY firings.namespace, firings.automation
        LIMIT 1
    )
    UNION ALL
    SELECT next.namespace, next.automation
    FROM awaited
    CROSS JOIN LATERAL (
        SELECT firings.namespace, firings.automation
        FROM automation_firings AS firings
        WHERE firings.given_up_at IS NULL
            AND firings.is_filtered
            AND (firings.namespace, firings.automation) > (awaited.namespace, awaited.automation)
        ORDER BY firings.namespace, firings.automation
        LIMIT 1
    ) AS next
), stray AS MATERIALIZED ( -- of automations that went while an event that set them off was being committed
    SELECT awaited.namespace, awaited.automation, strays.run_id, strays.seq
    FROM awaited
    CROSS JOIN LATERAL (
        SELECT firings.run_id, firings.seq
        FROM automation_firings AS firings
        WHERE firings.namespace = awaited.namespace
            AND firings.automation = awaited.automation
            AND firings.given_up_at IS NULL
            AND firings.is_filtered
        LIMIT $4
        FOR UPDATE SKIP LOCKED
    ) AS strays
    WHERE NOT EXISTS (
        SELECT
        FROM automations
        WHERE automations.namespace = awaited.namespace
            AND automations.name = awaited.automation
    )
), cleared AS (
    DELETE FROM automation_firings AS firings
    USING stray
    WHERE firings.namespace = stray.namespace
        AND firings.automation = stray.automation
        AND firings.run_id = stray.run_id
        AND firings.seq = stray.seq
), due AS MATERIALIZED (
    SELECT awaited.namespace, awaited.automation, firsts.run_id, firsts.seq
    FROM awaited
    JOIN automations
        ON automations.namespace = awaited.namespace
        AND automations.name = awaited.automation
    CROSS JOIN LATERAL (
        SELECT firings.run_id, firings.seq, firings.due_at
        FROM automation_firings AS firings
        WHERE firings.namespace = awaited.namespace
            AND firings.automation = awaited.automation
            AND firings.given_up_at IS NULL
            AND firings.is_filtered
            AND firings.due_at <= $1
        ORDER BY firings.due_at, firings.run_id, firings.seq
        LIMIT $4
    ) AS firsts
    WHERE NOT automations.is_paused
        AND NOT EXISTS (
            SELECT
            FROM UNNEST($5::text[], $6::text[]) AS excepted (namespace, automation)
            WHERE excepted.namespace = awaited.namespace
                AND excepted.automation = awaited.automation
        )
    ORDER BY firsts.due_at, firsts.run_id, firsts.seq
    LIMIT $3
), held AS MATERIALIZED ( -- as they are by now, found by the primary key alone: no other index fits
    SELECT
        firings.namespace, firings.automation, firings.run_id, firings.seq, firings.due_at, firings.given_up_at,
        firings.is_filtered
    FROM due
    JOIN automation_firings AS firings
        ON firings.namespace = due.namespace
        AND firings.automation = due.automation
        AND firings.run_id = due.run_id
        AND firings.seq = due.seq
    FOR UPDATE OF firings SKIP LOCKED
), taken AS (
    UPDATE automation_firings AS firings
    SET due_at = $2,
        n_tries = firings.n_tries + 1
    FROM held
    WHERE firings.namespace = held.namespace
        AND firings.automation = held.automation
        AND firings.run_id = held.run_id
        AND firings.seq = held.seq
        AND held.given_up_at IS NULL
        AND held.is_filtered
        AND held.due_at <= $1
    RETURNING firings.*, held.due_at AS was_due_at
)
SELECT
    taken.namespace, taken.automation, taken.run_id, taken.seq, taken.state, taken.state_name, taken.message,
    taken.occurred_at, taken.attempt, taken.ended, taken.n_tries, taken.last_error, taken.due_at,
    taken.given_up_at IS NOT NULL
FROM taken
ORDER BY taken.was_due_at, taken.run_id, taken.seq
