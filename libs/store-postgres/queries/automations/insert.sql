INSERT INTO automations (
    namespace, name, description, states, state_names, filter, each_attempt, action, is_paused, n_succeeded,
    n_given_up, last_error, last_succeeded_at, revision, created_at, updated_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (namespace, name) DO NOTHING
