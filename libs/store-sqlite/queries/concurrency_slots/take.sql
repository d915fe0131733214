INSERT INTO concurrency_slots (namespace, limit_name, owner, acquired_at, expires_at, for_run, n_slots)
SELECT v ->> 0, v ->> 1, unhex(v ->> 2), v ->> 3, v ->> 4, unhex(v ->> 5), v ->> 6
FROM (SELECT value AS v FROM json_each(?1))
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (namespace, limit_name, owner) DO UPDATE
SET acquired_at = excluded.acquired_at,
    expires_at = excluded.expires_at,
    for_run = excluded.for_run,
    n_slots = excluded.n_slots
