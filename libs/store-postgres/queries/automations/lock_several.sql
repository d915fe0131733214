-- Locked in the order of their names, so that two batches cannot deadlock.
SELECT 1
FROM automations
WHERE (namespace, name) IN (SELECT * FROM UNNEST($1::text[], $2::text[]))
ORDER BY namespace, name
FOR NO KEY UPDATE
