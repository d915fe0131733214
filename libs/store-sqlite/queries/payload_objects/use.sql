UPDATE payload_objects
SET touched_at = MAX(touched_at, ?2) -- the collector looks at it again, and then sees the use
WHERE (id, namespace) IN (SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?1))
    AND state = 'COMPLETE'
RETURNING id, size, sha256, namespace, key, state
