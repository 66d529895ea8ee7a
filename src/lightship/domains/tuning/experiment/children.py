"""The objects that an Experiment makes: its Suggestion and its Trials. Pure; the reconciler writes them."""

from __future__ import annotations

from lightship.domains.tuning import kinds, names, templates
from lightship.domains.tuning.suggestion import book
from lightship.domains.tuning.suggestion.book import Assignment
from lightship.domains.tuning.trial import checkpoints
from lightship.kube import objects
from lightship.kube.objects import Key, Object


def make_suggestion(experiment: Object, requests: int) -> Object:
    """The Suggestion of an Experiment, of the same name."""
    spec = objects.spec(experiment)
    wanted = {"algorithm": spec.get("algorithm"), "requests": requests, "resumePolicy": spec.get("resumePolicy")}
    if spec.get("earlyStopping"):
        wanted["earlyStopping"] = spec["earlyStopping"]
    return {"apiVersion": kinds.SUGGESTIONS.api_version, "kind": kinds.SUGGESTIONS.kind,
            "metadata": {"name": objects.name(experiment), "namespace": objects.namespace(experiment),
                         "labels": objects.labels(experiment), "ownerReferences": [owner(experiment)]},
            "spec": wanted}


def make_trial(experiment: Object, assignment: Assignment, template: templates.Template) -> Object:
    """The Trial of an assignment. Raises ``errors.BadTemplate``."""
    spec = objects.spec(experiment)
    wanted = spec.get("trialTemplate") or {}
    key = Key(objects.namespace(experiment), assignment.name)
    trial = {
        "objective": spec.get("objective"), "metricsCollector": spec.get("metricsCollectorSpec"),
        "parameterAssignments": [{"name": name, "value": value} for name, value in assignment.assignments.items()],
        "runSpec": templates.render(template, wanted.get("trialParameters") or (), key, assignment.assignments),
        "retainRun": bool(wanted.get("retain"))}
    for name in ("primaryPodLabels", "primaryContainerName"):
        if wanted.get(name):
            trial[name] = wanted[name]
    if wanted.get("successCondition") and wanted.get("failureCondition"):
        trial |= {name: wanted[name] for name in ("successCondition", "failureCondition")}
    if assignment.rules:
        trial["earlyStoppingRules"] = book.rules(assignment.rules)
    if assignment.labels:
        trial["labels"] = dict(assignment.labels)
    labels = {**objects.labels(experiment), names.EXPERIMENT_LABEL: objects.name(experiment), **assignment.labels}
    metadata: Object = {"name": assignment.name, "namespace": key.namespace, "labels": labels,
                        "finalizers": [names.METRICS_FINALIZER], "ownerReferences": [owner(experiment)]}
    if annotations := checkpoints.where(experiment):
        metadata["annotations"] = annotations
    return {"apiVersion": kinds.TRIALS.api_version, "kind": kinds.TRIALS.kind, "metadata": metadata, "spec": trial}


def owner(experiment: Object) -> Object:
    return {"apiVersion": kinds.EXPERIMENTS.api_version, "kind": kinds.EXPERIMENTS.kind,
            "name": objects.name(experiment), "uid": objects.uid(experiment), "controller": True,
            "blockOwnerDeletion": True}
