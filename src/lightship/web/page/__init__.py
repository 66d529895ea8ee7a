"""The page at ``/``: a plain list of runs, models and endpoints, and a page for each run and artifact.

``app`` calls ``routes.routes``. It works without scripts; ``static/page.js`` keeps it current. The dashboard that is to
come replaces it.
"""
