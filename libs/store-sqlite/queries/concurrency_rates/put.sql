INSERT INTO concurrency_rates (namespace, limit_name, arrival)
SELECT v ->> 0, v ->> 1, v ->> 2
FROM (SELECT value AS v FROM json_each(?1))
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (namespace, limit_name) DO UPDATE
SET arrival = excluded.arrival
