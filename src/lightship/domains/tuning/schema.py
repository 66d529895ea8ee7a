"""Pieces of structural schemas that the kinds of this room share. Pure data.

Upstream's own definitions keep everything as it comes; these name the fields, so that ``kubectl explain`` tells of them
and a value of the wrong type is refused with its path, where upstream's webhook fails to decode it.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

OPEN: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
STRINGS: Schema = {"type": "object", "additionalProperties": TEXT}
COUNT: Schema = {"type": "integer", "format": "int32"}
TIME: Schema = {"type": "string", "format": "date-time", "nullable": True}
FLAG: Schema = {"type": "boolean"}


def object_of(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def of_kind(spec: Schema, status: Schema) -> Schema:
    """The schema of a whole kind."""
    return object_of(apiVersion=TEXT, kind=TEXT, metadata={"type": "object"}, spec=spec, status=status)


CONDITION = object_of(type=TEXT, status=TEXT, reason=TEXT, message=TEXT, lastUpdateTime=TIME, lastTransitionTime=TIME)
SETTINGS = list_of(object_of(name=TEXT, value=TEXT))
ALGORITHM = object_of(algorithmName=TEXT, algorithmSettings=SETTINGS)
ASSIGNMENTS = list_of(object_of(name=TEXT, value=TEXT))
OBSERVATION = object_of(metrics=list_of(object_of(name=TEXT, min=TEXT, max=TEXT, latest=TEXT)))
RULES = list_of(object_of(name=TEXT, value=TEXT, comparison=TEXT, startStep=COUNT))
_GOAL: Schema = {"type": "number", "format": "double", "nullable": True}
OBJECTIVE = object_of(
    type=TEXT, goal=_GOAL, objectiveMetricName=TEXT, additionalMetricNames={**TEXTS, "nullable": True},
    metricStrategies=list_of(object_of(name=TEXT, value=TEXT)),
    additionalObjectives=list_of(object_of(type=TEXT, goal=_GOAL, objectiveMetricName=TEXT)) | {
        "description": "Lightship's extension: further objectives, with the first ones a Pareto front."})
COLLECTOR = object_of(
    collector=object_of(kind=TEXT, customCollector=OPEN),
    source=object_of(fileSystemPath=object_of(path=TEXT, kind=TEXT, format=TEXT),
                     filter=object_of(metricsFormat=TEXTS),
                     httpGet=OPEN))
SPACE = object_of(min=TEXT, max=TEXT, step=TEXT, list=TEXTS, distribution=TEXT)
PARAMETERS = list_of(object_of(name=TEXT, parameterType=TEXT, feasibleSpace=SPACE))
