SELECT
    firings.namespace, firings.automation, firings.run_id, firings.seq, firings.state, firings.state_name,
    firings.message, firings.occurred_at, firings.attempt, firings.ended, firings.n_tries, firings.last_error,
    firings.due_at, firings.given_up_at IS NOT NULL
