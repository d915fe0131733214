FROM json_each(?1) AS asked
JOIN work_pools
    ON work_pools.namespace = asked.value ->> 0
    AND work_pools.name = asked.value ->> 1
