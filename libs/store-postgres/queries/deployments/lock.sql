-- Also the name of one that is not there, so that two do not make it.
SELECT pg_advisory_xact_lock($1, hashtext($2 || E'\n' || $3))
