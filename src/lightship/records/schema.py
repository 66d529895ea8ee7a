"""The tables of the records, as SQLAlchemy Core knows them. Query modules call me; I hold data only.

Every row of a user's has a ``namespace``. Ids of pipelines and their runs are UUID strings as in KFP; ids of the
model registry are small integers as in the Model Registry. A change here needs a migration in ``migrations/versions``
and its name in ``upgrade.REVISIONS``; a test holds that both ways give the same schema.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from lightship.records.columns import Document, Instant, Json
from lightship.records.pipeline_rows import TaskIO

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
})


def _id() -> Column[str]:
    return Column("id", String(64), primary_key=True)


def _namespace() -> Column[str]:
    return Column("namespace", String(63), nullable=False)


specs = Table(
    "specs", metadata,
    # A compiled pipeline, kept once however many versions and runs share it; named by the SHA-256 of its JSON.
    Column("digest", String(80), primary_key=True),
    Column("body", Json, nullable=False),
)

experiments = Table(
    "experiments", metadata,
    _id(), _namespace(),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("storage_state", String(16), nullable=False, server_default="AVAILABLE"),
    Column("created_at", Instant, nullable=False),
    Column("last_run_created_at", Instant),
    UniqueConstraint("namespace", "name"),
)

pipelines = Table(
    "pipelines", metadata,
    _id(), _namespace(),
    Column("name", String(255), nullable=False),
    Column("display_name", String(255), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("tags", Json),
    Column("created_at", Instant, nullable=False),
    # The name of the Kubernetes object that this row is the index of; empty where there is none.
    Column("object_name", String(253), nullable=False, server_default=""),
    UniqueConstraint("namespace", "name"),
    Index(None, "namespace", "object_name"),
)

pipeline_versions = Table(
    "pipeline_versions", metadata,
    _id(), _namespace(),
    Column("pipeline_id", ForeignKey("pipelines.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("display_name", String(255), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("code_source_url", Text, nullable=False, server_default=""),
    Column("package_url", Text, nullable=False, server_default=""),
    Column("spec_digest", ForeignKey("specs.digest"), nullable=False, index=True),
    Column("tags", Json),
    Column("created_at", Instant, nullable=False),
    Column("object_name", String(253), nullable=False, server_default=""),
    UniqueConstraint("pipeline_id", "name"),
    Index(None, "pipeline_id", "created_at"),
    Index(None, "namespace", "object_name"),
)

runs = Table(
    "runs", metadata,
    _id(), _namespace(),
    Column("experiment_id", ForeignKey("experiments.id"), nullable=False),
    Column("display_name", String(255), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    # No foreign keys: a run outlives the pipeline it was made from, and keeps its own specification.
    Column("pipeline_id", String(64), nullable=False, server_default=""),
    Column("pipeline_version_id", String(64), nullable=False, server_default=""),
    Column("pipeline_name", String(255), nullable=False, server_default=""),
    Column("recurring_run_id", String(64), nullable=False, server_default=""),
    Column("spec_digest", ForeignKey("specs.digest"), nullable=False, index=True),
    Column("parameters", Json, nullable=False),
    Column("pipeline_root", Text, nullable=False, server_default=""),
    Column("service_account", String(253), nullable=False, server_default=""),
    Column("state", String(16), nullable=False),
    # Goes up by one each time that the run is retried.
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("state_history", Json, nullable=False),
    Column("error", Text, nullable=False, server_default=""),
    Column("storage_state", String(16), nullable=False, server_default="AVAILABLE"),
    Column("created_at", Instant, nullable=False),
    Column("scheduled_at", Instant),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Index(None, "namespace", "created_at", "id"),
    Index(None, "experiment_id", "created_at"),
    Index(None, "state"),
    Index("ix_runs_recurring_run_id", "recurring_run_id", "state"),
)

recurring_runs = Table(
    "recurring_runs", metadata,
    _id(), _namespace(),
    Column("experiment_id", ForeignKey("experiments.id"), nullable=False, index=True),
    Column("display_name", String(255), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    # No foreign keys, as with runs. Without a specification each run takes the pipeline's newest version.
    Column("pipeline_id", String(64), nullable=False, server_default=""),
    Column("pipeline_version_id", String(64), nullable=False, server_default=""),
    Column("spec_digest", ForeignKey("specs.digest"), index=True),
    Column("parameters", Json, nullable=False),
    Column("pipeline_root", Text, nullable=False, server_default=""),
    Column("service_account", String(253), nullable=False, server_default=""),
    # The cron_schedule or periodic_schedule, as REST has it.
    Column("trigger", Json, nullable=False),
    Column("max_concurrency", Integer, nullable=False),
    Column("no_catchup", Integer, nullable=False),
    Column("enabled", Integer, nullable=False),
    # How many runs it has made, the last time that had one (or from when times count), and the next time.
    Column("last_index", Integer, nullable=False, server_default="0"),
    Column("counted_from", Instant, nullable=False),
    Column("next_at", Instant, index=True),
    Column("error", Text, nullable=False, server_default=""),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Index(None, "namespace", "created_at", "id"),
)

tasks = Table(
    "tasks", metadata,
    _id(), _namespace(),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    # The place in the run, unique there: names of tasks and loop indices from the root down.
    Column("path", Text, nullable=False),
    Column("parent_path", Text, nullable=False, server_default=""),
    Column("name", String(255), nullable=False),
    Column("display_name", String(255), nullable=False, server_default=""),
    Column("type", String(24), nullable=False),
    Column("iteration", Integer),
    Column("state", String(16), nullable=False),
    Column("error", Text, nullable=False, server_default=""),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("retry_at", Instant),
    Column("pod", String(253), nullable=False, server_default=""),
    Column("cache_key", String(80), nullable=False, server_default=""),
    Column("cached_from", String(64), nullable=False, server_default=""),
    Column("inputs", Document(TaskIO)),
    Column("outputs", Document(TaskIO)),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    UniqueConstraint("run_id", "path"),
)

artifacts = Table(
    "artifacts", metadata,
    _id(), _namespace(),
    Column("name", String(255), nullable=False),
    Column("type_title", String(255), nullable=False),
    Column("type_version", String(32), nullable=False, server_default=""),
    Column("uri", Text, nullable=False),
    Column("custom_path", Text, nullable=False, server_default=""),
    Column("digest", String(80), nullable=False, server_default=""),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("metadata", Json),
    Column("created_at", Instant, nullable=False),
    # The run whose step wrote the content, which is then ours to delete; empty for what was imported or passed on.
    Column("run_id", String(64), nullable=False, server_default=""),
    # Since when no run refers to it; and whether its content is being deleted, so that nobody may take it up again.
    Column("unused_since", Instant),
    Column("doomed", Integer, nullable=False, server_default="0"),
    Index(None, "namespace", "uri"),
    Index(None, "namespace", "created_at", "id"),
    Index(None, "digest"),
    Index(None, "unused_since", sqlite_where=text("unused_since IS NOT NULL"),
          postgresql_where=text("unused_since IS NOT NULL")),
)

events = Table(
    "events", metadata,
    # Lineage: one artifact that one task took or made; ``key`` is the input's or output's name.
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("task_id", ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    Column("type", String(8), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("artifact_id", ForeignKey("artifacts.id"), primary_key=True, index=True),
)

cache_entries = Table(
    "cache_entries", metadata,
    Column("namespace", String(63), primary_key=True),
    Column("key", String(80), primary_key=True),
    # No foreign keys: an entry may outlive the run that made it, while its artifacts are there.
    Column("run_id", String(64), nullable=False),
    Column("task_id", String(64), nullable=False, index=True),
    Column("outputs", Document(TaskIO), nullable=False),
    Column("created_at", Instant, nullable=False),
)

observation_logs = Table(
    "observation_logs", metadata,
    # What trials measured, in their own words; ``time`` is year 1 where a reading came without one.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _namespace(),
    Column("trial", String(253), nullable=False),
    Column("metric", String(255), nullable=False),
    Column("time", Instant, nullable=False),
    Column("value", Text, nullable=False),
    Index(None, "namespace", "trial", "time"),
)

leftovers = Table(
    "leftovers", metadata,
    # Runs that were deleted, and the folder that holds what they left besides artifacts: commit records and logs.
    Column("run_id", String(64), primary_key=True),
    _namespace(),
    Column("root", Text, nullable=False),
    Column("removed_at", Instant, nullable=False),
)

fences = Table(
    "fences", metadata,
    # Who may write as the leader: the Lease's uid and its token, the highest that was ever seen.
    Column("name", String(255), primary_key=True),
    Column("lease", String(64), nullable=False),
    Column("token", BigInteger, nullable=False),
)


def _registry_columns() -> tuple[Column[Any], ...]:
    """What every thing in the model registry has; ``fields`` holds what is only kept and given back."""
    return (
        Column("id", Integer, primary_key=True, autoincrement=True),
        _namespace(),
        Column("name", String(255), nullable=False),
        Column("external_id", String(255)),
        Column("state", String(24), nullable=False, server_default="LIVE"),
        Column("custom_properties", Json),
        Column("fields", Json),
        Column("created_at", Instant, nullable=False),
        Column("updated_at", Instant, nullable=False),
    )


registered_models = Table(
    "registered_models", metadata, *_registry_columns(),
    UniqueConstraint("namespace", "name"), Index(None, "external_id"), sqlite_autoincrement=True,
)

model_versions = Table(
    "model_versions", metadata, *_registry_columns(),
    Column("registered_model_id", ForeignKey("registered_models.id"), nullable=False),
    UniqueConstraint("registered_model_id", "name"), Index(None, "external_id"), sqlite_autoincrement=True,
)

model_artifacts = Table(
    "model_artifacts", metadata, *_registry_columns(),
    # Models, documents, data sets, metrics and parameters: ``type`` is the registry's ``artifactType``.
    Column("type", String(24), nullable=False),
    Column("model_version_id", ForeignKey("model_versions.id"), index=True),
    Column("uri", Text),
    # The lineage: the bytes, and the run, step and artifact record that made them.
    Column("digest", String(80)),
    Column("run_id", String(64), index=True),
    Column("task_id", String(64)),
    Column("artifact_id", String(64)),
    Index(None, "external_id"), Index(None, "name"), sqlite_autoincrement=True,
)

serving_environments = Table(
    "serving_environments", metadata, *_registry_columns(),
    UniqueConstraint("namespace", "name"), Index(None, "external_id"), sqlite_autoincrement=True,
)

inference_services = Table(
    "inference_services", metadata, *_registry_columns(),
    Column("serving_environment_id", ForeignKey("serving_environments.id"), nullable=False),
    Column("registered_model_id", ForeignKey("registered_models.id"), nullable=False, index=True),
    Column("model_version_id", ForeignKey("model_versions.id")),
    UniqueConstraint("serving_environment_id", "name"), Index(None, "external_id"), sqlite_autoincrement=True,
)

serve_models = Table(
    "serve_models", metadata, *_registry_columns(),
    Column("inference_service_id", ForeignKey("inference_services.id"), nullable=False, index=True),
    Column("model_version_id", ForeignKey("model_versions.id"), nullable=False),
    Index(None, "external_id"), sqlite_autoincrement=True,
)
