"""Recurring runs: schedules, and who makes their runs.

``cron`` and ``schedule`` are the arithmetic of time, ``macros`` what stands in parameters, ``decide`` what is due: all
pure. ``scheduler`` is the controller, ``routes`` the REST side.
"""
