"""Tuning: Experiment, Suggestion and Trial, as Katib has them.

``domain`` is what a server composes, ``commands`` what the command line registers, ``algorithms.process`` what runs
beside the server; each is taken in without the others, so that a verb and a worker start without a server's imports.
"""
