"""Relational history: what is searched and grows for ever. Runs, tasks, artifacts, model versions, observations.

Domains and ``app`` call me; I call SQLAlchemy Core. ``database.Database`` runs transactions, ``schema`` holds the
tables, one module a topic holds its named queries. SQLite by default, PostgreSQL by URL, the same code on both.
"""
