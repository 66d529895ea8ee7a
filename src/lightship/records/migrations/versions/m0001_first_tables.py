"""The first tables of the records: pipelines and their runs, artifacts and lineage, the cache, the model registry.

Alembic runs me through ``migrations/env.py``. Later schemas are written as further migrations; I never change again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_artifacts()
    _create_cache_entries()
    _create_experiments()
    _create_pipelines()
    _create_registered_models()
    _create_serving_environments()
    _create_specs()
    _create_model_versions()
    _create_pipeline_versions()
    _create_runs()
    _create_inference_services()
    _create_model_artifacts()
    _create_tasks()
    _create_events()
    _create_serve_models()


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("type_title", sa.String(length=255), nullable=False),
        sa.Column("type_version", sa.String(length=32), server_default="", nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("custom_path", sa.Text(), server_default="", nullable=False),
        sa.Column("digest", sa.String(length=80), server_default="", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
    )
    op.create_index(op.f("ix_artifacts_digest"), "artifacts", ["digest"], unique=False)
    op.create_index(
        op.f("ix_artifacts_namespace_created_at_id"), "artifacts", ["namespace", "created_at", "id"], unique=False
    )
    op.create_index(op.f("ix_artifacts_namespace_uri"), "artifacts", ["namespace", "uri"], unique=False)


def _create_cache_entries() -> None:
    op.create_table(
        "cache_entries",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "key", name=op.f("pk_cache_entries")),
    )
    op.create_index(op.f("ix_cache_entries_task_id"), "cache_entries", ["task_id"], unique=False)


def _create_experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("storage_state", sa.String(length=16), server_default="AVAILABLE", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_run_created_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_experiments_namespace_name")),
    )


def _create_pipelines() -> None:
    op.create_table(
        "pipelines",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("display_name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipelines")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_pipelines_namespace_name")),
    )


def _create_registered_models() -> None:
    op.create_table(
        "registered_models",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=24), server_default="LIVE", nullable=False),
        sa.Column("custom_properties", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registered_models")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_registered_models_namespace_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_registered_models_external_id"), "registered_models", ["external_id"], unique=False)


def _create_serving_environments() -> None:
    op.create_table(
        "serving_environments",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=24), server_default="LIVE", nullable=False),
        sa.Column("custom_properties", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_serving_environments")),
        sa.UniqueConstraint("namespace", "name", name=op.f("uq_serving_environments_namespace_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_serving_environments_external_id"), "serving_environments", ["external_id"], unique=False)


def _create_specs() -> None:
    op.create_table(
        "specs",
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_specs")),
    )


def _create_model_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=24), server_default="LIVE", nullable=False),
        sa.Column("custom_properties", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("registered_model_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["registered_model_id"], ["registered_models.id"], name=op.f("fk_model_versions_registered_model_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("registered_model_id", "name", name=op.f("uq_model_versions_registered_model_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_model_versions_external_id"), "model_versions", ["external_id"], unique=False)


def _create_pipeline_versions() -> None:
    op.create_table(
        "pipeline_versions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("pipeline_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("display_name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("code_source_url", sa.Text(), server_default="", nullable=False),
        sa.Column("package_url", sa.Text(), server_default="", nullable=False),
        sa.Column("spec_digest", sa.String(length=80), nullable=False),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_pipeline_versions_pipeline_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["spec_digest"], ["specs.digest"], name=op.f("fk_pipeline_versions_spec_digest")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline_versions")),
        sa.UniqueConstraint("pipeline_id", "name", name=op.f("uq_pipeline_versions_pipeline_id_name")),
    )
    op.create_index(
        op.f("ix_pipeline_versions_pipeline_id_created_at"),
        "pipeline_versions",
        ["pipeline_id", "created_at"],
        unique=False,
    )
    op.create_index(op.f("ix_pipeline_versions_spec_digest"), "pipeline_versions", ["spec_digest"], unique=False)


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("experiment_id", sa.String(length=64), nullable=False),
        sa.Column("display_name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("pipeline_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("pipeline_version_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("pipeline_name", sa.String(length=255), server_default="", nullable=False),
        sa.Column("recurring_run_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("spec_digest", sa.String(length=80), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("pipeline_root", sa.Text(), server_default="", nullable=False),
        sa.Column("service_account", sa.String(length=253), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state_history", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("storage_state", sa.String(length=16), server_default="AVAILABLE", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("scheduled_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_runs_experiment_id")),
        sa.ForeignKeyConstraint(["spec_digest"], ["specs.digest"], name=op.f("fk_runs_spec_digest")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_experiment_id_created_at"), "runs", ["experiment_id", "created_at"], unique=False)
    op.create_index(op.f("ix_runs_namespace_created_at_id"), "runs", ["namespace", "created_at", "id"], unique=False)
    op.create_index(op.f("ix_runs_spec_digest"), "runs", ["spec_digest"], unique=False)
    op.create_index(op.f("ix_runs_state"), "runs", ["state"], unique=False)


def _create_inference_services() -> None:
    op.create_table(
        "inference_services",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=24), server_default="LIVE", nullable=False),
        sa.Column("custom_properties", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("serving_environment_id", sa.Integer(), nullable=False),
        sa.Column("registered_model_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_inference_services_model_version_id")
        ),
        sa.ForeignKeyConstraint(
            ["registered_model_id"], ["registered_models.id"], name=op.f("fk_inference_services_registered_model_id")
        ),
        sa.ForeignKeyConstraint(
            ["serving_environment_id"],
            ["serving_environments.id"],
            name=op.f("fk_inference_services_serving_environment_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inference_services")),
        sa.UniqueConstraint(
            "serving_environment_id", "name", name=op.f("uq_inference_services_serving_environment_id_name")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_inference_services_external_id"), "inference_services", ["external_id"], unique=False)
    op.create_index(
        op.f("ix_inference_services_registered_model_id"), "inference_services", ["registered_model_id"], unique=False
    )


def _create_model_artifacts() -> None:
    op.create_table(
        "model_artifacts",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=24), server_default="LIVE", nullable=False),
        sa.Column("custom_properties", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=24), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=True),
        sa.Column("uri", sa.Text(), nullable=True),
        sa.Column("digest", sa.String(length=80), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("task_id", sa.String(length=64), nullable=True),
        sa.Column("artifact_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_model_artifacts_model_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_artifacts")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_model_artifacts_external_id"), "model_artifacts", ["external_id"], unique=False)
    op.create_index(op.f("ix_model_artifacts_model_version_id"), "model_artifacts", ["model_version_id"], unique=False)
    op.create_index(op.f("ix_model_artifacts_name"), "model_artifacts", ["name"], unique=False)
    op.create_index(op.f("ix_model_artifacts_run_id"), "model_artifacts", ["run_id"], unique=False)


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("parent_path", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("display_name", sa.String(length=255), server_default="", nullable=False),
        sa.Column("type", sa.String(length=24), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("pod", sa.String(length=253), server_default="", nullable=False),
        sa.Column("cache_key", sa.String(length=80), server_default="", nullable=False),
        sa.Column("cached_from", sa.String(length=64), server_default="", nullable=False),
        sa.Column("inputs", sa.Text(), nullable=True),
        sa.Column("outputs", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_tasks_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("run_id", "path", name=op.f("uq_tasks_run_id_path")),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("artifact_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifacts.id"], name=op.f("fk_events_artifact_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_events_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_events_task_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "type", "key", "artifact_id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_artifact_id"), "events", ["artifact_id"], unique=False)
    op.create_index(op.f("ix_events_run_id"), "events", ["run_id"], unique=False)


def _create_serve_models() -> None:
    op.create_table(
        "serve_models",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=24), server_default="LIVE", nullable=False),
        sa.Column("custom_properties", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("inference_service_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["inference_service_id"], ["inference_services.id"], name=op.f("fk_serve_models_inference_service_id")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_serve_models_model_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_serve_models")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_serve_models_external_id"), "serve_models", ["external_id"], unique=False)
    op.create_index(
        op.f("ix_serve_models_inference_service_id"), "serve_models", ["inference_service_id"], unique=False
    )
    # ### end Alembic commands ###
