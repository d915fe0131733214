UPDATE concurrency_slots AS slots
SET asked = 2
FROM UNNEST($1::text[], $2::text[], $3::uuid[]) AS one (namespace, limit_name, owner)
WHERE (slots.namespace, slots.limit_name, slots.owner) = (one.namespace, one.limit_name, one.owner)
    AND slots.asked = 1
