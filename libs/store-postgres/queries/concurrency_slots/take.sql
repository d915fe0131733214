-- Of limits that this transaction has locked, by owners that it has locked.
INSERT INTO concurrency_slots (namespace, limit_name, owner, acquired_at, expires_at, for_run, n_slots)
SELECT *
FROM UNNEST($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::uuid[], $7::integer[])
ON CONFLICT (namespace, limit_name, owner) DO UPDATE
SET acquired_at = EXCLUDED.acquired_at,
    expires_at = EXCLUDED.expires_at,
    for_run = EXCLUDED.for_run,
    n_slots = EXCLUDED.n_slots
