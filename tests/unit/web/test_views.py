"""The page's views, from rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from lightship.records.pipeline_rows import TaskRow
from lightship.records.rows import Run
from lightship.web.page import views

NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)


def task(path: str, seconds: int) -> TaskRow:
    return TaskRow(task_id=path, run_id="r", namespace="default", path=path, parent_path=path.rpartition("/")[0],
                   name=path.rpartition("/")[2], display_name="", type="RUNTIME", state="SUCCEEDED",
                   created_at=NOW + timedelta(seconds=seconds))


def test_steps_are_told_as_they_came_about_and_children_after_their_parent() -> None:
    run = Run(id="r", namespace="default", experiment_id="e", display_name="a run", state="SUCCEEDED", spec={},
              parameters={}, created_at=NOW)
    rows = [task("root/blessed", 5), task("root/zeta", 0), task("root/alpha", 3), task("root/blessed/late", 7),
            task("root/blessed/early", 6)]

    text = str(views.run(run, rows, NOW))

    names = re.findall(r'<span class="step depth-\d">([\w\[\]]+)', text)
    assert names == ["zeta", "alpha", "blessed", "early", "late"]
