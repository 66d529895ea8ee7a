"""The schema of an Experiment. Pure data."""

from __future__ import annotations

from lightship.domains.tuning import schema as s

_TEMPLATE = s.object_of(
    trialSpec=s.OPEN, configMap=s.object_of(configMapName=s.TEXT, configMapNamespace=s.TEXT, templatePath=s.TEXT),
    trialParameters=s.list_of(s.object_of(name=s.TEXT, description=s.TEXT, reference=s.TEXT)),
    primaryContainerName=s.TEXT, primaryPodLabels=s.STRINGS, successCondition=s.TEXT, failureCondition=s.TEXT,
    retain=s.FLAG)
_GRAPH = s.object_of(numLayers=s.COUNT, inputSizes=s.list_of(s.COUNT), outputSizes=s.list_of(s.COUNT))
_NAS = s.object_of(graphConfig=_GRAPH,
                   operations=s.list_of(s.object_of(operationType=s.TEXT, parameters=s.PARAMETERS)))
_SPEC = s.object_of(
    parameters=s.PARAMETERS, objective=s.OBJECTIVE, algorithm=s.ALGORITHM, earlyStopping=s.ALGORITHM,
    trialTemplate=_TEMPLATE, parallelTrialCount=s.COUNT, maxTrialCount=s.COUNT, maxFailedTrialCount=s.COUNT,
    metricsCollectorSpec=s.COLLECTOR, nasConfig=_NAS, resumePolicy=s.TEXT)
_STATUS = s.object_of(
    conditions=s.list_of(s.CONDITION), startTime=s.TIME, completionTime=s.TIME, lastReconcileTime=s.TIME,
    currentOptimalTrial=s.object_of(bestTrialName=s.TEXT, parameterAssignments=s.ASSIGNMENTS,
                                    observation=s.OBSERVATION),
    paretoFront=s.list_of(s.object_of(trialName=s.TEXT, parameterAssignments=s.ASSIGNMENTS,
                                      observation=s.OBSERVATION)),
    runningTrialList=s.TEXTS, pendingTrialList=s.TEXTS, failedTrialList=s.TEXTS, succeededTrialList=s.TEXTS,
    killedTrialList=s.TEXTS, earlyStoppedTrialList=s.TEXTS, metricsUnavailableTrialList=s.TEXTS,
    trials=s.COUNT, trialsRunning=s.COUNT, trialsPending=s.COUNT, trialsSucceeded=s.COUNT, trialsFailed=s.COUNT,
    trialsKilled=s.COUNT, trialsEarlyStopped=s.COUNT, trialMetricsUnavailable=s.COUNT)

SCHEMA = s.of_kind(_SPEC, _STATUS)
