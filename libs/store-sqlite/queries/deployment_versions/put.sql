INSERT INTO deployment_versions (namespace, name, version, spec, created_at, created_by)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
