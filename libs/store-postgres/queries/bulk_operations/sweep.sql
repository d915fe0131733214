WHERE state = 'RUNNING'
    AND lease_until <= $1
ORDER BY lease_until
LIMIT 1
FOR UPDATE SKIP LOCKED
