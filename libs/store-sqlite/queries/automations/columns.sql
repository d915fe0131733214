SELECT
    automations.namespace, automations.name, automations.description, automations.states, automations.state_names,
    automations.filter, automations.each_attempt, automations.action, automations.is_paused,
    automations.n_succeeded, automations.n_given_up, automations.last_error, automations.last_succeeded_at,
    automations.revision, automations.created_at, automations.updated_at
