"""The store of graphs, revisions and situations in SQLite or PostgreSQL, and the lease on it."""
