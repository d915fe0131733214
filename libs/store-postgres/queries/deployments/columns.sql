SELECT
    deployments.namespace, deployments.name, deployments.version, deployments.spec, deployments.created_at,
    deployments.updated_at, deployments.work_pool
