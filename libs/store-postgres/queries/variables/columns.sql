SELECT
    variables.namespace, variables.name, variables.value, variables.tags, variables.description, variables.revision,
    variables.created_at, variables.updated_at
