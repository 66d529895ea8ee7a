"""The observation log of trials.

Alembic runs me through ``migrations/env.py``. I never change again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "observation_logs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("trial", sa.String(length=253), nullable=False),
        sa.Column("metric", sa.String(length=255), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observation_logs")),
    )
    op.create_index(op.f("ix_observation_logs_namespace_trial_time"), "observation_logs",
                    ["namespace", "trial", "time"], unique=False)
