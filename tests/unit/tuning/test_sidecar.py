"""The sidecar: what it adds to a Pod, and what it prints of files that a trial writes as it likes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import lightship
from lightship import errors
from lightship.domains.tuning.collectors import injection, sidecar
from lightship.kube.objects import Object
from lightship.testing.clock import FakeClock, settle
from tests.unit.tuning.test_events import FILE as EVENT_FILE


def trial(kind: str, source: dict[str, Any] | None = None, **collector: Any) -> Object:
    return {"metadata": {"name": "t"}, "spec": {
        "objective": {"objectiveMetricName": "train/$acc", "additionalMetricNames": ["loss"]},
        "primaryContainerName": "main",
        "metricsCollector": {"collector": {"kind": kind} | collector, "source": source or {}}}}


def template(**more: Any) -> Object:
    return {"metadata": {}, "spec": {"containers": [{"name": "main"} | more, {"name": "other"}]}}


def place(path: str, kind: str = "File", **more: Any) -> dict[str, Any]:
    return {"fileSystemPath": {"path": path, "kind": kind} | more}


def test_a_file_gets_a_volume_and_a_native_sidecar() -> None:
    spec = injection.amend(trial("File", place("/var/log/katib/metrics.log")), template())["spec"]
    mount = {"name": "metrics-volume", "mountPath": "/var/log/katib"}
    assert spec["containers"] == [{"name": "main", "volumeMounts": [mount]}, {"name": "other"}]
    assert spec["volumes"] == [{"name": "metrics-volume", "emptyDir": {}}]
    assert spec["initContainers"] == [{
        "name": "metrics-logger-and-collector", "image": injection.IMAGE, "restartPolicy": "Always",
        "args": ["file", "/var/log/katib/metrics.log"], "volumeMounts": [mount]}]


def test_on_other_clusters_it_is_a_program_of_our_image() -> None:
    own = injection.Sidecar(image="example.com/lightship:1", command=injection.PROGRAM)
    spec = injection.amend(trial("File", place("/logs/m.log")), template(), own)["spec"]
    assert spec["initContainers"][0]["image"] == "example.com/lightship:1"
    assert spec["initContainers"][0]["command"] == ["python3", "-m", sidecar.__name__]


def test_event_files_are_asked_for_by_metric() -> None:
    spec = injection.amend(trial("TensorFlowEvent", place("/train/", "Directory")), template())["spec"]
    assert spec["initContainers"][0]["args"] == ["events", "/train/", "train/$$acc", "loss"]
    assert spec["initContainers"][0]["volumeMounts"] == [{"name": "metrics-volume", "mountPath": "/train"}]


def test_a_volume_that_the_trial_has_there_is_shared() -> None:
    own = {"name": "data", "mountPath": "/out", "subPath": "x"}
    spec = injection.amend(trial("File", place("/out/logs/m.log")), template(volumeMounts=[own]))["spec"]
    assert "volumes" not in spec and spec["initContainers"][0]["volumeMounts"] == [own]


def test_a_custom_collector_is_a_sidecar_of_its_author() -> None:
    given = {"name": "mine", "image": "python:3.11", "args": ["-t"]}
    spec = injection.amend(trial("Custom", place("/m", "Directory"), customCollector=given), template())["spec"]
    assert spec["initContainers"] == [given | {"restartPolicy": "Always", "volumeMounts": [
        {"name": "metrics-volume", "mountPath": "/m"}]}]


def test_what_is_printed_needs_no_sidecar_and_answers_for_the_one_that_sdks_ask_for() -> None:
    assert injection.amend(trial("StdOut"), template()) == template() | {
        "metadata": {"annotations": {"logs.lightship.dev/metrics-logger-and-collector": "main"}}}


@pytest.mark.parametrize("kind", ["Push", "PrometheusMetric", "None"])
def test_other_collectors_leave_the_pod_as_it_is(kind: str) -> None:
    assert injection.amend(trial(kind), template()) == template()
    assert injection.amend(trial("File", place("/metrics.log")), template()) == template()


@dataclass
class Context:
    arguments: tuple[str, ...]
    mounts: dict[str, str]
    clock: FakeClock = field(default_factory=FakeClock)
    printed: bytearray = field(default_factory=bytearray)

    @property
    def write(self) -> Callable[[bytes], None]:
        return self.printed.extend

    async def run(self, *steps: Callable[[], Any]) -> str:
        """Look after each step, and once more at the end; the clock stands still meanwhile."""
        work = asyncio.create_task(sidecar.collect(self, self.clock))
        await settle()
        for step in steps:
            step()
            await self.clock.advance(sidecar.LOOK_SECONDS)
        work.cancel()
        assert await work == 0
        return self.printed.decode(errors="replace")


async def test_lines_come_as_they_are_written_and_the_rest_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "m.log"
    context = Context(("file", "/logs/m.log"), {"/logs": str(tmp_path), "/": "/nowhere"})

    def append(text: str) -> Callable[[], Any]:
        def write() -> None:
            with file.open("a") as stream:
                stream.write(text)

        return write

    printed = await context.run(append("acc=1\nac"), append("c=2\n"), append("acc=3"))
    assert printed == "acc=1\nacc=2\nacc=3\n"


async def test_a_trial_that_ends_at_once_is_read_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "m.log").write_text("acc=1")
    assert await Context(("file", "/logs/m.log"), {"/logs": str(tmp_path)}).run() == "acc=1\n"


async def test_a_file_that_is_replaced_or_cut_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "m.log"
    context = Context(("file", "/logs/m.log"), {"/logs": str(tmp_path)})
    printed = await context.run(lambda: file.write_text("acc=1\nacc=2\n"), lambda: file.write_text("acc=3\n"),
                                lambda: (file.rename(tmp_path / "old"), file.write_text("acc=4\nacc=5\n")))
    assert printed == "acc=1\nacc=2\nacc=3\nacc=4\nacc=5\n"


async def test_no_link_leads_out_of_the_volume_and_no_pipe_holds_the_reader(tmp_path: Path) -> None:
    volume, secret = tmp_path / "volume", tmp_path / "secret"
    volume.mkdir()
    secret.write_text("acc=token\n")
    (volume / "link.log").symlink_to(secret)
    (volume / "up").symlink_to(tmp_path)
    os.mkfifo(volume / "pipe")
    for path in ("/v/link.log", "/v/up/secret", "/v/pipe", "/v", "/v/none"):
        assert await Context(("file", path), {"/v": str(volume)}).run() == ""
    with pytest.raises(errors.InvalidInput, match="no volume"):
        await sidecar.collect(Context(("file", "/v/../secret"), {"/v": str(volume)}))
    events = Context(("events", "/v", "acc"), {"/v": str(volume)})
    (volume / "a" / "b").mkdir(parents=True)
    (volume / "a" / "loop").symlink_to(volume)
    assert await events.run() == ""


async def test_event_files_of_a_tree_are_printed_as_json(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "events.out.tfevents.1").write_bytes(EVENT_FILE)
    (tmp_path / "junk").write_bytes(os.urandom(4096))
    context = Context(("events", "/logs", "train/accuracy", "loss"), {"/logs": str(tmp_path)})
    found = [json.loads(one) for one in (await context.run(lambda: None)).splitlines()]
    assert [one["train/accuracy"] for one in found if "train/accuracy" in one] == ["0.1", "0.25", "nan", "3.0"]
    assert [one["loss"] for one in found if "loss" in one] == ["1e-09", "-3"] * 2
    assert found[0]["timestamp"] == "2026-01-01T00:00:00.250000Z"


def test_as_a_program_it_prints_until_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "m.log").write_text("acc=1\nacc=2")
    # As in its image: of this package alone, without what the server needs.
    program = subprocess.Popen([sys.executable, "-S", "-m", "lightship.domains.tuning.collectors.sidecar", "file",
                                str(tmp_path / "m.log")], stdout=subprocess.PIPE, text=True,
                               env={"PYTHONPATH": str(Path(lightship.__file__).parents[1])})
    assert program.stdout is not None
    assert program.stdout.readline() == "acc=1\n"
    program.send_signal(signal.SIGTERM)
    assert program.communicate(timeout=30)[0] == "acc=2\n"
    assert program.returncode == 0
