"""Moving a step's files: what is kept, in which order, and what is never touched."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import lightship.launcher
from lightship.artifacts.local import LocalStore
from lightship.launcher import places, staging, stores
from lightship.launcher.files import StagingError, Volumes

ROOT = "minio://bucket/pipeline/run/step/attempt"


class Step:
    """The volumes of a step and a store in a folder."""

    def __init__(self, folder: Path) -> None:
        self.minio, self.kfp = folder / "minio", folder / "kfp"
        self.minio.mkdir()
        self.kfp.mkdir()
        self.kept = folder / "store"
        self.kept.mkdir()
        self.store = stores.FolderStore(str(self.kept))
        self.volumes = Volumes(["/minio", "/tmp/kfp"], lambda mount: str(
            self.minio if mount == "/minio" else self.kfp))
        self.lines: list[str] = []

    @property
    def own(self) -> Path:
        return self.minio / ROOT.removeprefix("minio://")

    def plan(self, **changes: Any) -> dict[str, Any]:
        return {"mounts": ["/minio", "/tmp/kfp"], "commit": f"{ROOT}/commit.json", "root": ROOT,
                "outputFile": f"/minio/{ROOT.removeprefix('minio://')}/executor_output.json",
                "parameters": [{"name": "n", "path": "/tmp/kfp/outputs/n/data"}],
                "artifacts": [{"name": "model", "uri": f"{ROOT}/model",
                               "path": f"/minio/{ROOT.removeprefix('minio://')}/model"}],
                "roots": [["minio://", "/minio/"]], **changes}

    def out(self, **changes: Any) -> dict[str, Any]:
        return staging.stage_out(self.plan(**changes), self.store, self.volumes, self.lines.append)

    def prepare(self) -> None:
        staging.stage_in({"directories": ["/tmp/kfp/outputs/n", f"/minio/{ROOT.removeprefix('minio://')}"]},
                         self.store, self.volumes, self.lines.append)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    made = Step(tmp_path)
    made.prepare()
    return made


def test_outputs_are_kept_with_digests_and_the_record_is_written(step: Step) -> None:
    (step.own / "model").write_bytes(b"weights")
    (step.kfp / "outputs/n/data").write_text("3")
    (step.own / "executor_output.json").write_text(json.dumps({
        "parameterValues": {"m": 1.0}, "artifacts": {"model": {"artifacts": [
            {"uri": f"{ROOT}/model", "metadata": {"acc": 0.9}}]}}}))
    record = step.out()
    place = step.kept / "bucket/pipeline/run/step/attempt"
    assert (place / "model").read_bytes() == b"weights"
    assert json.loads((place / "commit.json").read_text()) == record
    assert record["parameterFiles"] == {"n": "3"} and record["parameterValues"] == {"m": 1.0}
    assert record["artifacts"]["model"] == [{
        "uri": f"{ROOT}/model", "metadata": {"acc": 0.9}, "sizeBytes": 7,
        "digest": "sha256:" + hashlib.sha256(b"weights").hexdigest()}]


async def test_a_folder_has_the_digest_that_the_platforms_own_store_gives(step: Step, tmp_path: Path) -> None:
    model = step.own / "model"
    (model / "deep").mkdir(parents=True)
    (model / "a").write_text("1")
    (model / "deep" / "b").write_text("2")
    os.symlink("a", model / "link")
    kept = step.out()["artifacts"]["model"][0]
    own = await LocalStore(tmp_path / "other").put("minio://bucket/model", model)
    assert (kept["digest"], kept["sizeBytes"]) == (own.digest, own.size_bytes)
    assert (step.kept / "bucket/pipeline/run/step/attempt/model/link").read_text() == "1"


def test_metadata_alone_is_an_artifact_too(step: Step) -> None:
    (step.own / "executor_output.json").write_text(json.dumps({"artifacts": {"model": {"artifacts": [
        {"uri": f"{ROOT}/model", "metadata": {"acc": 1}}]}}}))
    assert step.out()["artifacts"]["model"] == [{"uri": f"{ROOT}/model", "metadata": {"acc": 1}}]


def test_inputs_come_in_and_foreign_ones_are_only_named(step: Step) -> None:
    step.store.write("minio://bucket/in/data.csv", b"a,b")
    staging.stage_in({"inputs": [{"uri": "minio://bucket/in/data.csv", "path": "/minio/bucket/in/data.csv"},
                                 {"uri": "gs://elsewhere/x", "path": "/gcs/elsewhere/x"}]},
                     step.store, step.volumes, step.lines.append)
    assert (step.minio / "bucket/in/data.csv").read_bytes() == b"a,b"
    assert any("gs://elsewhere/x" in line for line in step.lines)


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../../../../../etc/passwd"])
def test_links_out_of_the_volume_are_refused(step: Step, link: str) -> None:
    os.symlink(link, step.own / "model")
    with pytest.raises(StagingError, match="leads outside"):
        step.out()
    assert not (step.kept / "bucket/pipeline/run/step/attempt/commit.json").exists()


def test_links_inside_a_folder_that_lead_out_are_refused(step: Step) -> None:
    (step.own / "model").mkdir()
    os.symlink("/etc/passwd", step.own / "model" / "x")
    with pytest.raises(StagingError, match="outside the artifact"):
        step.out()


def test_devices_and_pipes_are_refused(step: Step) -> None:
    (step.own / "model").mkdir()
    os.mkfifo(step.own / "model" / "pipe")
    with pytest.raises(StagingError, match="neither a file nor a folder"):
        step.out()


@pytest.mark.parametrize("path", ["/etc/passwd", "/minio/../etc/passwd", "relative", "/minio2/x"])
def test_a_custom_path_off_the_volumes_is_refused_by_name(step: Step, path: str) -> None:
    (step.own / "executor_output.json").write_text(json.dumps({"artifacts": {"model": {"artifacts": [
        {"uri": f"{ROOT}/model", "custom_path": path}]}}}))
    with pytest.raises(StagingError, match="custom_path"):
        step.out()


def test_a_custom_path_on_a_volume_is_kept_under_the_artifacts_uri(step: Step) -> None:
    (step.kfp / "mine.txt").write_text("mine")
    (step.own / "executor_output.json").write_text(json.dumps({"artifacts": {"model": {"artifacts": [
        {"uri": f"{ROOT}/model", "custom_path": "/tmp/kfp/mine.txt"}]}}}))
    step.out()
    assert (step.kept / "bucket/pipeline/run/step/attempt/model").read_text() == "mine"


def test_what_is_anothers_is_never_overwritten(step: Step) -> None:
    step.store.write("minio://bucket/other/model", b"theirs")
    (step.minio / "bucket/other").mkdir(parents=True)
    (step.minio / "bucket/other/model").write_bytes(b"changed")
    for uri in ("minio://bucket/other/model", f"{ROOT}/../../../../other/model"):
        (step.own / "executor_output.json").write_text(json.dumps({"artifacts": {"model": {"artifacts": [
            {"uri": uri}]}}}))
        with contextlib.suppress(StagingError):
            step.out()
        assert (step.kept / "bucket/other/model").read_bytes() == b"theirs"


@pytest.mark.parametrize("uri", ["minio://b", "minio://b/../x", "minio:///x", "minio://b//x", "gs://b/x", "x",
                                 "minio://../x/y", "minio://b/\0"])
def test_the_folder_store_keeps_to_its_folder(step: Step, uri: str) -> None:
    with pytest.raises(StagingError):
        step.store.write(uri, b"x")


def test_sizes_are_bounded(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MAX_PARAMETER_BYTES", 3)
    (step.kfp / "outputs/n/data").write_text("1234")
    with pytest.raises(StagingError, match="limit of 3 bytes"):
        step.out()
    monkeypatch.setattr(stores, "MAX_ARTIFACT_BYTES", 3)
    (step.kfp / "outputs/n/data").write_text("1")
    (step.own / "model").write_bytes(b"1234")
    with pytest.raises(StagingError, match="limit of 3 bytes"):
        step.out()
    assert not list((step.kept / ".incoming").iterdir()), "nothing half-written is left"


def test_an_output_file_that_is_no_json_says_so(step: Step) -> None:
    (step.own / "executor_output.json").write_text("{")
    with pytest.raises(StagingError, match="not JSON"):
        step.out()


def test_a_store_that_cannot_be_reached_says_how(tmp_path: Path) -> None:
    with pytest.raises(StagingError, match="endpoint"):
        places.open_store("s3://bucket", {}, print)
    with pytest.raises(StagingError, match="not mounted"):
        places.open_store(str(tmp_path / "absent"), {}, print)
    assert places.open_store(f"file://{tmp_path}", {}, print).handles("s3://b/x")


@pytest.mark.parametrize("text", ["", "{", "[]", "zlib:", "zlib:!", "zlib:eJwDAAAAAAE=", "zlib:AAAA"])
def test_a_plan_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(StagingError, match="is not a plan"):
        staging.read_plan(text)


def test_the_launcher_stands_alone_on_python_3_8() -> None:
    folder = Path(str(lightship.launcher.__file__)).parent
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] in sys.stdlib_module_names for alias in node.names), path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] in sys.stdlib_module_names, path


