-- Who this server is: made with its store and never changed, so that what it has others start can be told from what another
-- server has them start.
CREATE TABLE server (id text NOT NULL);

INSERT INTO server (id) VALUES (replace(gen_random_uuid()::text, '-', ''));
