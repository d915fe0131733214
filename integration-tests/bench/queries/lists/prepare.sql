-- A UUIDv7 of a time in milliseconds, the same for the same seed.
CREATE FUNCTION bench_uuid7(ms bigint, seed bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT (
        lpad(to_hex(ms), 12, '0') || '7' || substr(md5(seed::text), 1, 3) || '8' || substr(md5(seed::text), 4, 15)
    )::uuid
$$;

-- Partitions of a week for the ids of the past, as they would have been made at their time: before the first that the
-- store has made when it was opened.
DO $$
DECLARE
    week_ms constant bigint := 7 * 86400000;
    first_ms constant bigint := (
        SELECT extract(epoch FROM min(to_date(substr(relname, 7), 'YYYYMMDD')))::bigint * 1000
        FROM pg_class
        WHERE relname ~ '^runs_p[0-9]{8}$'
    );
    -- Only the time counts in a bound.
    bound text := '%s-%s-0000-0000-000000000000';
    low text;
    high text;
BEGIN
    FOR week IN 1..5 LOOP
        low := lpad(to_hex(first_ms - week * week_ms), 12, '0');
        high := lpad(to_hex(first_ms - (week - 1) * week_ms), 12, '0');
        EXECUTE format(
            'CREATE TABLE bench_runs_%s PARTITION OF runs FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 80)',
            week,
            format(bound, left(low, 8), right(low, 4)),
            format(bound, left(high, 8), right(high, 4))
        );
    END LOOP;
END
$$;
