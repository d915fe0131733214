FROM json_each(?2) AS asked
JOIN concurrency_limits AS limits
    ON limits.namespace = asked.value ->> 0
    AND limits.name = asked.value ->> 1
