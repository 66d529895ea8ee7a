"""What is said of a run that failed."""

from __future__ import annotations

import asyncio
import io
from typing import Any, cast

from lightship.cli import exits
from lightship.cli.connection import Platform
from lightship.domains.pipelines.commands import follow

NOBODY = cast(Platform, None)
"""A platform that is not asked anything."""


def test_a_step_that_never_ran_has_a_cause_and_no_command_to_run_it_again() -> None:
    task: dict[str, Any] = {"task_id": "1", "name": "train", "scope_path": "root/train", "type": "RUNTIME",
                            "state": "FAILED", "error": {"message": 'the input "x" has no value'}}
    said = io.StringIO()
    run = {"run_id": "r", "state": "FAILED", "tasks": [task]}
    assert asyncio.run(follow.explain(NOBODY, run, said)) == exits.FAILED
    assert 'train failed: the input "x" has no value' in said.getvalue()
    assert "lightship debug" not in said.getvalue() and "lightship runs retry r" in said.getvalue()
