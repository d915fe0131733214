-- The automations whose records are written are locked by then. The firings are found by the primary key alone, so that no
-- other index fits, and then looked at as they are by now.
WITH held AS MATERIALIZED (
    SELECT
        firings.namespace, firings.automation, firings.run_id, firings.seq, firings.n_tries, firings.given_up_at,
        finished.n_tries AS finished_try, finished.outcome, finished.error, finished.due_at, finished.idx
    FROM UNNEST(
        $1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[]
    ) WITH ORDINALITY AS finished (namespace, automation, run_id, seq, n_tries, outcome, error, due_at, idx)
    JOIN automation_firings AS firings
        ON firings.namespace = finished.namespace
        AND firings.automation = finished.automation
        AND firings.run_id = finished.run_id
        AND firings.seq = finished.seq
    ORDER BY firings.namespace, firings.automation, firings.run_id, firings.seq -- so that two batches cannot deadlock
    FOR UPDATE OF firings
), done AS MATERIALIZED (
    SELECT *
    FROM held
    WHERE n_tries = finished_try
        AND given_up_at IS NULL
), gone AS (
    DELETE FROM automation_firings AS firings
    USING done
    WHERE firings.namespace = done.namespace
        AND firings.automation = done.automation
        AND firings.run_id = done.run_id
        AND firings.seq = done.seq
        AND done.outcome IN ('succeeded', 'dropped')
), kept AS (
    UPDATE automation_firings AS firings
    SET due_at = done.due_at,
        given_up_at = CASE WHEN done.outcome = 'given_up' THEN done.due_at END,
        last_error = done.error
    FROM done
    WHERE firings.namespace = done.namespace
        AND firings.automation = done.automation
        AND firings.run_id = done.run_id
        AND firings.seq = done.seq
        AND done.outcome IN ('failed', 'given_up')
)
UPDATE automations
SET n_succeeded = automations.n_succeeded + told.n_succeeded,
    n_given_up = automations.n_given_up + told.n_given_up,
    last_error = CASE WHEN automations.is_paused THEN automations.last_error ELSE told.last_error END, -- why it was paused
    last_succeeded_at = CASE WHEN told.n_succeeded > 0 THEN $9 ELSE automations.last_succeeded_at END
FROM (
    SELECT
        done.namespace,
        done.automation,
        count(*) FILTER (WHERE done.outcome = 'succeeded') AS n_succeeded,
        count(*) FILTER (WHERE done.outcome = 'given_up') AS n_given_up,
        (array_agg(done.error ORDER BY done.idx DESC))[1] AS last_error -- '' of one that succeeded
    FROM done
    WHERE done.outcome <> 'dropped'
    GROUP BY done.namespace, done.automation
) AS told
WHERE automations.namespace = told.namespace
    AND automations.name = told.automation
