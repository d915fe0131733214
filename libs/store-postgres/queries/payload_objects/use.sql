WITH held AS MATERIALIZED ( -- locked in id order, so that two batches cannot deadlock
    SELECT payload_objects.id
    FROM payload_objects
    JOIN UNNEST($1::uuid[], $2::text[]) AS asked (id, namespace)
        ON payload_objects.id = asked.id
        AND payload_objects.namespace = asked.namespace
    WHERE payload_objects.state = 'COMPLETE'
    ORDER BY payload_objects.id
    FOR UPDATE OF payload_objects
)
UPDATE payload_objects
SET touched_at = GREATEST(payload_objects.touched_at, $3) -- the collector looks at it again, and then sees the use
FROM held
WHERE payload_objects.id = held.id
RETURNING payload_objects.id, payload_objects.size, payload_objects.sha256, payload_objects.namespace,
    payload_objects.key, payload_objects.state
