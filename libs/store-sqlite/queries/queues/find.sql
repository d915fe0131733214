FROM json_each(?1) AS asked
JOIN queues
    ON queues.namespace = asked.value ->> 0
    AND queues.name = asked.value ->> 1
