FROM concurrency_limits AS limits
JOIN UNNEST($2::text[], $3::text[]) AS asked (namespace, name)
    ON limits.namespace = asked.namespace
    AND limits.name = asked.name
