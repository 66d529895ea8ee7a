"""The kinds of the Model Registry, as data: their fields, where each is kept, and their paths. Pure.

``shapes`` reads and writes JSON by me; ``routes`` makes one set of routes a kind. A field that no kind has is refused,
as upstream's decoder does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Table

from lightship.records import schema

TEXT, TEXTS, INTEGER, NUMBER, ID, PROPERTIES = "text", "texts", "integer", "number", "id", "properties"

LIVE_STATES = ("LIVE", "ARCHIVED")
ARTIFACT_STATES = ("UNKNOWN", "PENDING", "LIVE", "MARKED_FOR_DELETION", "DELETED", "ABANDONED", "REFERENCE")
SERVICE_STATES = ("DEPLOYED", "UNDEPLOYED")
RUN_STATES = ("UNKNOWN", "NEW", "RUNNING", "COMPLETE", "FAILED", "CACHED", "CANCELED")

COLUMNS: Mapping[str, str] = {
    "name": "name", "externalId": "external_id", "state": "state", "customProperties": "custom_properties",
    "registeredModelId": "registered_model_id", "modelVersionId": "model_version_id",
    "servingEnvironmentId": "serving_environment_id", "artifactType": "type", "uri": "uri",
}
"""The fields that have a column of their own; the others are kept together."""

READ_ONLY = frozenset({"id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"})
"""Upstream's clients send back what they read; these are then left alone."""

_EVERY = {"description": TEXT, "externalId": TEXT, "customProperties": PROPERTIES}
_ARTIFACT = _EVERY | {"artifactType": TEXT, "state": "state"}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind. ``update`` are the fields that may change later, ``create`` those that are given once."""

    title: str
    table: Table
    update: Mapping[str, str]
    create: Mapping[str, str]
    required: tuple[str, ...] = ()
    states: tuple[str, ...] = LIVE_STATES
    state_field: str = "state"
    unique: tuple[str, ...] = ()
    parent: str = ""
    """The column that names the parent, by which ``parentResourceId`` finds."""
    resource: str = ""
    """The resource of access reviews."""


REGISTERED_MODEL = Kind(
    title="registered model", table=schema.registered_models, resource="registeredmodels",
    update=_EVERY | {
        "owner": TEXT, "state": "state", "readme": TEXT, "maturity": TEXT, "language": TEXTS, "tasks": TEXTS,
        "provider": TEXT, "logo": TEXT, "license": TEXT, "licenseLink": TEXT, "libraryName": TEXT},
    create={"name": TEXT}, required=("name",), unique=("name",))

MODEL_VERSION = Kind(
    title="model version", table=schema.model_versions, resource="modelversions",
    update=_EVERY | {"state": "state", "author": TEXT}, create={"name": TEXT, "registeredModelId": ID},
    required=("name", "registeredModelId"), unique=("registered_model_id", "name"), parent="registered_model_id")

SERVING_ENVIRONMENT = Kind(
    title="serving environment", table=schema.serving_environments, resource="servingenvironments",
    update=_EVERY, create={"name": TEXT}, required=("name",), unique=("name",))

INFERENCE_SERVICE = Kind(
    title="inference service", table=schema.inference_services, resource="inferenceservices",
    update=_EVERY | {"modelVersionId": ID, "runtime": TEXT, "desiredState": "state"},
    create={"name": TEXT, "registeredModelId": ID, "servingEnvironmentId": ID},
    required=("registeredModelId", "servingEnvironmentId"), states=SERVICE_STATES, state_field="desiredState",
    unique=("serving_environment_id", "name"), parent="serving_environment_id")

SERVE_MODEL = Kind(
    title="serve model", table=schema.serve_models, resource="inferenceservices",
    update=_EVERY | {"lastKnownState": "state"}, create={"name": TEXT, "modelVersionId": ID},
    required=("modelVersionId",), states=RUN_STATES, state_field="lastKnownState")

ARTIFACT_FIELDS: Mapping[str, Mapping[str, str]] = {
    "model-artifact": {
        "modelFormatName": TEXT, "storageKey": TEXT, "storagePath": TEXT, "modelFormatVersion": TEXT,
        "serviceAccountName": TEXT, "modelSourceKind": TEXT, "modelSourceClass": TEXT, "modelSourceGroup": TEXT,
        "modelSourceId": TEXT, "modelSourceName": TEXT, "uri": TEXT},
    "doc-artifact": {"uri": TEXT},
    "dataset-artifact": {"digest": TEXT, "sourceType": TEXT, "source": TEXT, "schema": TEXT, "profile": TEXT,
                         "uri": TEXT},
    "metric": {"value": NUMBER, "timestamp": TEXT, "step": INTEGER},
    "parameter": {"value": TEXT, "parameterType": TEXT},
}


def artifact(artifact_type: str) -> Kind:
    """The kind of one type of artifact."""
    named = ("name",) if artifact_type in ("metric", "parameter") else ()
    return Kind(
        title=artifact_type, table=schema.model_artifacts, resource="modelartifacts",
        update={**_ARTIFACT, **ARTIFACT_FIELDS[artifact_type]}, create={"name": TEXT}, required=named,
        states=ARTIFACT_STATES, parent="model_version_id", unique=("model_version_id", "type", "name"))


ARTIFACTS: Mapping[str, Kind] = {name: artifact(name) for name in ARTIFACT_FIELDS}
MODEL_ARTIFACT = ARTIFACTS["model-artifact"]
