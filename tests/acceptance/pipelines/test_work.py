"""What a step costs, counted: transactions, writes of objects, of statuses, processes. Never a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lightship.client.inprocess import InProcess
from lightship.client.transport import Request, Response
from lightship.kube import objects
from lightship.records import pipeline_rows as rows
from lightship.records.database import Database
from tests.acceptance.pipelines.harness import Platform
from tests.acceptance.pipelines.test_engine import shell, until
from tests.unit.pipelines import specs

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAIN = 4


async def test_the_work_of_a_step_is_what_it_was_made_to_be(
        shared_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the difference of a chain and a shorter one: what a run costs by itself, and chance, do not count."""
    await shared_platform.run(chain(1))
    work: list[Counter[str]] = []
    for count in (1, 1 + CHAIN):
        with counting(monkeypatch) as counted:
            done = await shared_platform.run(chain(count))
            await until(shared_platform, done.run.run_id, lambda pods: pods and not any(map(objects.finalizers, pods)))
        assert done.run.state == rows.SUCCEEDED
        work.append(counted)
    a_step = {name: count / CHAIN for name, count in (work[1] - work[0]).items()}
    assert a_step["transactions"] <= 1, a_step  # this one's outcome and the next one's intent are one
    assert a_step["POST pods"] == 1, a_step
    assert a_step["POST binding"] == 1, a_step
    assert a_step["PATCH pods"] == 1, a_step  # the finalizer
    assert a_step["PATCH status"] <= 3, a_step  # one, or more where the machine is so slow that a state lasts
    # Events are the node's, which writes them when it has time: those of earlier tests' Pods may come here.
    assert sum(count for name, count in a_step.items() if not name.endswith("events")) <= 7.5, a_step


def chain(count: int) -> specs.Spec:
    """Steps one after another, each of a component of its own, since equal ones would be one in the cache's eyes."""
    tasks = {f"s{n}": specs.task(f"comp-s{n}", after=[f"s{n - 1}"] if n else []) for n in range(count)}
    components = {f"comp-s{n}": specs.component(f"s{n}") for n in range(count)}
    return specs.pipeline(tasks, components, **{f"exec_s{n}": shell("true") for n in range(count)})


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Transactions of the records, and writes through the API by verb and kind or subresource; no reads."""
    counted: Counter[str] = Counter()
    run, send = Database.run, InProcess.send

    async def counting_run(self: Database, work: Any) -> Any:
        counted["transactions"] += 1
        return await run(self, work)

    async def counting_send(self: InProcess, request: Request) -> Response:
        if request.method != "GET":
            counted[f"{request.method} {what(request.path)}"] += 1
        return await send(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "run", counting_run)
        patch.setattr(InProcess, "send", counting_send)
        yield counted


def what(path: str) -> str:
    """``/api/v1/namespaces/default/pods/name/status`` is ``status``, and without it ``pods``."""
    words = path.partition("/namespaces/")[2].split("/")[1:]
    return words[2] if len(words) > 2 else words[0] if words else path
