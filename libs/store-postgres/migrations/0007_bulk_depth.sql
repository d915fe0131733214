-- The runs of a tree are seen to from the deepest up. NULL beside a cursor: it was set before there were depths, and counts as none.
ALTER TABLE bulk_operations ADD COLUMN cursor_depth bigint;
