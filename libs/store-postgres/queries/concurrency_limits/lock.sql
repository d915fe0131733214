-- Locked in the order of their names, so that two batches cannot deadlock. What is taken is counted by a statement of
-- its own: this one sees what was there before it waited.
SELECT 1
FROM concurrency_limits
WHERE (namespace, name) IN (SELECT * FROM UNNEST($1::text[], $2::text[]))
ORDER BY namespace, name
FOR NO KEY UPDATE
