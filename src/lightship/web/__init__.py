"""The HTTP toolkit of the REST side: who asks, what may be asked, how a list is paged, how an error is said.

Domains build their routes on me; ``app`` builds one server of all routes with ``application.build`` and ``server``.
"""
