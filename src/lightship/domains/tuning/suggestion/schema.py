"""The schema of a Suggestion. Pure data."""

from __future__ import annotations

from lightship.domains.tuning import schema as s

_ASSIGNMENT = s.object_of(name=s.TEXT, parameterAssignments=s.ASSIGNMENTS, labels=s.STRINGS,
                          earlyStoppingRules=s.RULES)
_SPEC = s.object_of(algorithm=s.ALGORITHM, earlyStopping=s.ALGORITHM, requests=s.COUNT, resumePolicy=s.TEXT)
_PROGRESS = s.object_of(told=s.COUNT, issued=s.COUNT, exhausted=s.FLAG) | {
    "description": "Lightship's own: how many ended Trials the algorithm was told of, and how many it has issued."}
_STATUS = s.object_of(
    conditions=s.list_of(s.CONDITION), startTime=s.TIME, completionTime=s.TIME, lastReconcileTime=s.TIME,
    algorithmSettings=s.SETTINGS, suggestionCount=s.COUNT, suggestions=s.list_of(_ASSIGNMENT), progress=_PROGRESS)

SCHEMA = s.of_kind(_SPEC, _STATUS)
