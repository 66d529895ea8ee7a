"""The schema of a Suggestion. Pure data."""

from __future__ import annotations

from lightship.domains.tuning import schema as s

_ASSIGNMENTS = s.list_of(s.OPEN) | {
    "description": "name, parameterAssignments, labels and earlyStoppingRules of each Trial that was given out. Open, "
                   "since hundreds of them would be checked at each write."}
_SPEC = s.object_of(algorithm=s.ALGORITHM, earlyStopping=s.ALGORITHM, requests=s.COUNT, resumePolicy=s.TEXT)
_PROGRESS = s.object_of(told=s.COUNT, issued=s.COUNT, exhausted=s.FLAG) | {
    "description": "Lightship's own: how many ended Trials the algorithm was told of, and how many it has issued."}
_STATUS = s.object_of(
    conditions=s.list_of(s.CONDITION), startTime=s.TIME, completionTime=s.TIME, lastReconcileTime=s.TIME,
    algorithmSettings=s.SETTINGS, suggestionCount=s.COUNT, suggestions=_ASSIGNMENTS, progress=_PROGRESS)

SCHEMA = s.of_kind(_SPEC, _STATUS)
