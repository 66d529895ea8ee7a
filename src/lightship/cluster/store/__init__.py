"""The object store: a log of revisions in SQLite, an index in memory, and a broadcast of what was committed."""
