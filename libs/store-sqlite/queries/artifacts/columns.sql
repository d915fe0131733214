SELECT
    artifacts.id, artifacts.namespace, artifacts.key, artifacts.version, artifacts.type, artifacts.description,
    artifacts.progress, artifacts.labels, artifacts.run_id, artifacts.root_id, artifacts.created_at,
    artifacts.updated_at
