FROM queues
JOIN UNNEST($1::text[], $2::text[]) AS asked (namespace, name)
    ON queues.namespace = asked.namespace
    AND queues.name = asked.name
