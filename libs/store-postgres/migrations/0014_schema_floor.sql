-- The oldest schema that a program may know which uses this database: one that knows no newer schema than its own starts
-- all the same, beside newer ones, where its own is not below it. A migration after which older programs do not work,
-- since it takes away what they use, raises it.
CREATE TABLE schema_floor (floor bigint NOT NULL);

INSERT INTO schema_floor (floor) VALUES (14);
