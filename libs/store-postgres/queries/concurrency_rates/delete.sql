DELETE FROM concurrency_rates
WHERE namespace = $1
    AND limit_name = $2
