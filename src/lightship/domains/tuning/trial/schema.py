"""The schema of a Trial. Pure data."""

from __future__ import annotations

from lightship.domains.tuning import schema as s

_SPEC = s.object_of(
    objective=s.OBJECTIVE, parameterAssignments=s.ASSIGNMENTS, labels=s.STRINGS, runSpec=s.OPEN, retainRun=s.FLAG,
    metricsCollector=s.COLLECTOR, primaryPodLabels=s.STRINGS, primaryContainerName=s.TEXT, successCondition=s.TEXT,
    failureCondition=s.TEXT, earlyStoppingRules=s.RULES)
_STATUS = s.object_of(conditions=s.list_of(s.CONDITION), startTime=s.TIME, completionTime=s.TIME,
                      lastReconcileTime=s.TIME, observation=s.OBSERVATION)

SCHEMA = s.of_kind(_SPEC, _STATUS)
