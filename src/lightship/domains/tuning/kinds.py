"""The kinds of ``kubeflow.org/v1beta1`` as the API server, clients and informers name them. Pure data."""

from __future__ import annotations

from lightship.kube.resources import Column, Resource

GROUP = "kubeflow.org"
_VERSION = "v1beta1"
_CATEGORIES = ("all", "kubeflow", "katib")
_AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date")
_STATE = (Column(name="Type", path=".status.conditions[-1:].type"),
          Column(name="Status", path=".status.conditions[-1:].status"))

EXPERIMENTS = Resource(group=GROUP, version=_VERSION, kind="Experiment", plural="experiments", singular="experiment",
                       categories=_CATEGORIES, subresources=frozenset({"status"}), columns=(*_STATE, _AGE))
SUGGESTIONS = Resource(group=GROUP, version=_VERSION, kind="Suggestion", plural="suggestions", singular="suggestion",
                       categories=_CATEGORIES, subresources=frozenset({"status"}),
                       columns=(*_STATE, Column(name="Requested", path=".spec.requests"),
                                Column(name="Assigned", path=".status.suggestionCount"), _AGE))
TRIALS = Resource(group=GROUP, version=_VERSION, kind="Trial", plural="trials", singular="trial",
                  categories=_CATEGORIES, subresources=frozenset({"status"}), columns=(*_STATE, _AGE))
