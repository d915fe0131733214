FROM work_pools
JOIN UNNEST($1::text[], $2::text[]) AS asked (namespace, name)
    ON work_pools.namespace = asked.namespace
    AND work_pools.name = asked.name
