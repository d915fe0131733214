SELECT EXISTS (SELECT 1 FROM automations WHERE NOT is_paused)
