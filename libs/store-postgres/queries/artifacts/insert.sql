INSERT INTO artifacts (
    id, namespace, key, version, type, description, progress, labels, run_id, root_id, created_at, updated_at, data,
    object_id, object_size, object_sha256
)
SELECT id, namespace, key, version, type, description, progress, labels::jsonb, run_id, root_id, created_at, created_at,
    data, object_id, object_size, object_sha256
FROM UNNEST(
    $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::double precision[], $8::text[],
    $9::uuid[], $10::uuid[], $11::bigint[], $12::bytea[], $13::uuid[], $14::bigint[], $15::bytea[]
) AS new (
    id, namespace, key, version, type, description, progress, labels, run_id, root_id, created_at, data, object_id,
    object_size, object_sha256
)
ORDER BY id -- so that two batches cannot deadlock
ON CONFLICT (id) DO NOTHING
