-- Found by the primary key alone, so that no other index fits, and then looked at as they are by now. What is locked is being
-- filtered by another process.
WITH held AS MATERIALIZED (
    SELECT
        firings.namespace, firings.automation, firings.run_id, firings.seq, filtered.is_kept,
        NOT firings.is_filtered AND firings.occurred_at = filtered.occurred_at AS is_asked_about
    FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::boolean[]) AS filtered (
        namespace, automation, run_id, seq, occurred_at, is_kept
    )
    JOIN automation_firings AS firings
        ON firings.namespace = filtered.namespace
        AND firings.automation = filtered.automation
        AND firings.run_id = filtered.run_id
        AND firings.seq = filtered.seq
    FOR UPDATE OF firings SKIP LOCKED
), gone AS (
    DELETE FROM automation_firings AS firings
    USING held
    WHERE firings.namespace = held.namespace
        AND firings.automation = held.automation
        AND firings.run_id = held.run_id
        AND firings.seq = held.seq
        AND held.is_asked_about
        AND NOT held.is_kept
)
UPDATE automation_firings AS firings
SET is_filtered = true
FROM held
WHERE firings.namespace = held.namespace
    AND firings.automation = held.automation
    AND firings.run_id = held.run_id
    AND firings.seq = held.seq
    AND held.is_asked_about
    AND held.is_kept
