FROM deployments
JOIN UNNEST($1::text[], $2::text[]) AS asked (namespace, name)
    ON deployments.namespace = asked.namespace
    AND deployments.name = asked.name
