-- Of limits that this transaction has locked.
INSERT INTO concurrency_rates (namespace, limit_name, arrival)
SELECT *
FROM UNNEST($1::text[], $2::text[], $3::bigint[])
ON CONFLICT (namespace, limit_name) DO UPDATE
SET arrival = EXCLUDED.arrival
