"""Recurring runs; and the Kubernetes object of a pipeline or version, by its name.

Alembic runs me through ``migrations/env.py``. I never change again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "recurring_runs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("experiment_id", sa.String(length=64), nullable=False),
        sa.Column("display_name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("pipeline_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("pipeline_version_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("spec_digest", sa.String(length=80), nullable=True),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("pipeline_root", sa.Text(), server_default="", nullable=False),
        sa.Column("service_account", sa.String(length=253), server_default="", nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("max_concurrency", sa.Integer(), nullable=False),
        sa.Column("no_catchup", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Integer(), nullable=False),
        sa.Column("last_index", sa.Integer(), server_default="0", nullable=False),
        sa.Column("counted_from", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"],
                                name=op.f("fk_recurring_runs_experiment_id")),
        sa.ForeignKeyConstraint(["spec_digest"], ["specs.digest"], name=op.f("fk_recurring_runs_spec_digest")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recurring_runs")),
    )
    op.create_index(op.f("ix_recurring_runs_spec_digest"), "recurring_runs", ["spec_digest"], unique=False)
    op.create_index(op.f("ix_recurring_runs_namespace_created_at_id"), "recurring_runs",
                    ["namespace", "created_at", "id"], unique=False)
    op.create_index(op.f("ix_recurring_runs_experiment_id"), "recurring_runs", ["experiment_id"], unique=False)
    op.create_index(op.f("ix_recurring_runs_next_at"), "recurring_runs", ["next_at"], unique=False)
    op.create_index(op.f("ix_runs_recurring_run_id"), "runs", ["recurring_run_id", "state"], unique=False)
    for table in ("pipelines", "pipeline_versions"):
        op.add_column(table, sa.Column("object_name", sa.String(length=253), server_default="", nullable=False))
        op.create_index(op.f(f"ix_{table}_namespace_object_name"), table, ["namespace", "object_name"], unique=False)
