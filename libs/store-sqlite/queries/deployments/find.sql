FROM json_each(?1) AS asked
JOIN deployments
    ON deployments.namespace = asked.value ->> 0
    AND deployments.name = asked.value ->> 1
