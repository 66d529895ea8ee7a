-- Every statement of the object store. Each is named by the comment line above it; queries.py reads this file.

-- name: create_log
-- One row a write. Rows that a later write superseded stay until compaction, so that watchers can resume.
CREATE TABLE log (
    revision  INTEGER PRIMARY KEY,
    resource  TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    deleted   INTEGER NOT NULL,
    value     BLOB NOT NULL
) STRICT;

-- name: create_facts
-- Numbers about the log itself: the revision up to which it was compacted.
CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- name: append
-- Appends writes; the row of question marks is repeated once a write, so that a batch is one statement.
INSERT INTO log (revision, resource, namespace, name, deleted, value) VALUES (?, ?, ?, ?, ?, ?);

-- name: replay
-- The whole log in order, to rebuild the index at start.
SELECT revision, resource, namespace, name, deleted, value FROM log ORDER BY revision;

-- name: compacted
-- The revision up to which superseded rows may be gone.
SELECT value FROM facts WHERE name = 'compacted';

-- name: set_compacted
-- Moves that revision.
INSERT INTO facts (name, value) VALUES ('compacted', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: forget
-- Drops superseded rows, given as a JSON list of revisions.
DELETE FROM log WHERE revision IN (SELECT value FROM json_each(?));
