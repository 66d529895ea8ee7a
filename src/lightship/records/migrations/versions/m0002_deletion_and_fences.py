"""What deleting runs needs (who made an artifact, who still refers to it), and the fence of the leader's writes.

Alembic runs me through ``migrations/env.py``. I never change again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("artifacts", sa.Column("run_id", sa.String(length=64), server_default="", nullable=False))
    op.add_column("artifacts", sa.Column("unused_since", sa.BigInteger(), nullable=True))
    op.add_column("artifacts", sa.Column("doomed", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        op.f("ix_artifacts_unused_since"), "artifacts", ["unused_since"], unique=False,
        sqlite_where=sa.text("unused_since IS NOT NULL"), postgresql_where=sa.text("unused_since IS NOT NULL"),
    )
    # A run's files lie under a folder of its id: an output of it that lies there is one that it wrote.
    op.execute(
        "UPDATE artifacts SET run_id = COALESCE((SELECT MIN(events.run_id) FROM events "
        "WHERE events.artifact_id = artifacts.id AND events.type = 'OUTPUT' "
        "AND artifacts.uri LIKE '%/' || events.run_id || '/%'), '')"
    )
    op.create_table(
        "leftovers",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_leftovers")),
    )
    op.create_table(
        "fences",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("lease", sa.String(length=64), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_fences")),
    )
