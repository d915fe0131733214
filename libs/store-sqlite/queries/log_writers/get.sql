SELECT stored FROM log_writers WHERE namespace = ?1 AND writer = ?2
