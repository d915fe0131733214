-- The oldest schema that a program may know which uses this file: one that knows no newer schema than its own opens it all
-- the same where its own is not below it. A migration after which older programs do not work, since it takes away what
-- they use, raises it.
CREATE TABLE schema_floor (floor INTEGER NOT NULL) STRICT;

INSERT INTO schema_floor (floor) VALUES (13);
