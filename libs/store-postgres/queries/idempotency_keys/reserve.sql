-- Waits for a transaction under way that reserves the same key. The update of a key that is owned changes nothing:
-- it is there so that RETURNING tells the owner. The slice is sorted, so that two batches cannot deadlock.
-- A child's key lasts as long as its parent is open, and nobody else reserves it.
INSERT INTO idempotency_keys AS owned (namespace, scope, key, run_id, params_hash, expires_at)
SELECT *
FROM UNNEST($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::bigint[])
ON CONFLICT (namespace, scope, key) DO UPDATE
SET (run_id, params_hash, expires_at, n_answers, answered_at) = (
    SELECT winner.run_id, winner.params_hash, winner.expires_at, winner.n_answers, winner.answered_at
    FROM (VALUES
        (TRUE, EXCLUDED.run_id, EXCLUDED.params_hash, EXCLUDED.expires_at, 0, NULL),
        (FALSE, owned.run_id, owned.params_hash, owned.expires_at, owned.n_answers, owned.answered_at)
    ) AS winner (is_new, run_id, params_hash, expires_at, n_answers, answered_at)
    WHERE winner.is_new = (owned.expires_at <= $7 AND owned.scope NOT LIKE 'run:%')
)
RETURNING namespace, scope, key, run_id, params_hash
