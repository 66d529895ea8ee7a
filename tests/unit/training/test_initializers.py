"""The initializers: what they bring, what they leave out, and how they say what went wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from lightship import errors
from lightship.artifacts.local import LocalStore
from lightship.domains import training


@dataclass
class Context:
    """A container whose ``/workspace`` is a folder."""

    workspace: Path
    env: Mapping[str, str]
    pod: Mapping[str, object] = field(default_factory=lambda: {"metadata": {"namespace": "default"}})
    lines: list[str] = field(default_factory=list)
    mount: str = "/workspace"

    def path(self, container_path: str) -> Path:
        if not self.mount or not (container_path + "/").startswith(self.mount + "/"):
            raise errors.InvalidInput(f"no volume is mounted at {container_path}")
        return self.workspace / container_path.removeprefix(self.mount).lstrip("/")

    def log(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
async def store(tmp_path: Path) -> LocalStore:
    made = LocalStore(tmp_path / "artifacts")
    for name in ("a.csv", "deep/b.csv", "weights.bin"):
        await made.put(f"minio://mlpipeline/data/{name}", name.encode())
    return made


async def run(kind: str, store: LocalStore, tmp_path: Path, **env: str) -> tuple[int, list[str], list[str]]:
    context = Context(tmp_path / "workspace", env, mount=env.pop("mount", "/workspace"))
    context.workspace.mkdir(exist_ok=True)
    code = await training.entrypoints(store)[kind](context)
    there = sorted(str(path.relative_to(context.workspace)) for path in context.workspace.rglob("*") if path.is_file())
    return code, there, context.lines


async def test_a_data_set_comes_whole_and_again(store: LocalStore, tmp_path: Path) -> None:
    for _ in range(2):
        code, there, lines = await run("dataset-initializer", store, tmp_path,
                                       STORAGE_URI="minio://mlpipeline/data/")
        assert (code, there) == (0, ["dataset/a.csv", "dataset/deep/b.csv", "dataset/weights.bin"]), lines


async def test_a_model_comes_without_what_upstream_leaves_out(store: LocalStore, tmp_path: Path) -> None:
    code, there, _ = await run("model-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data")
    assert (code, there) == (0, ["model/a.csv", "model/deep/b.csv"])
    code, there, _ = await run("model-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data",
                               IGNORE_PATTERNS="*.csv")
    assert code == 0 and "model/weights.bin" in there


async def test_a_single_file_keeps_its_name(store: LocalStore, tmp_path: Path) -> None:
    code, there, _ = await run("dataset-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data/a.csv")
    assert (code, there) == (0, ["dataset/a.csv"])


@pytest.mark.parametrize(("uri", "words"), [
    ("", "STORAGE_URI is not set"), ("minio://mlpipeline/nothing", "nothing lies"), ("s3://b/x", "s3"),
    ("hf://../d", "no repository of the hub")])
async def test_what_goes_wrong_is_the_last_line(store: LocalStore, tmp_path: Path, uri: str, words: str) -> None:
    code, there, lines = await run("dataset-initializer", store, tmp_path, STORAGE_URI=uri)
    assert (code, there) == (1, []) and words in lines[-1]


async def test_without_a_volume_nothing_is_fetched_but_the_step_goes_on(store: LocalStore, tmp_path: Path) -> None:
    """As upstream's does, whose files are gone with the container."""
    code, there, lines = await run("dataset-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data",
                                   mount="/elsewhere")
    assert (code, there) == (0, []) and "no volume is mounted at /workspace/dataset" in lines[-1]


async def test_a_volume_may_be_mounted_at_the_very_place(store: LocalStore, tmp_path: Path) -> None:
    code, there, _ = await run("dataset-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data",
                               mount="/workspace/dataset")
    assert (code, there) == (0, ["a.csv", "deep/b.csv", "weights.bin"])


@pytest.mark.parametrize("link", ["dataset", "dataset/deep"])
async def test_a_link_that_an_earlier_pod_left_leads_nowhere(store: LocalStore, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "workspace" / link).parent.mkdir(parents=True)
    (tmp_path / "workspace" / link).symlink_to(outside)
    code, _, lines = await run("dataset-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data")
    assert code == 1 and "is a link or a file" in lines[-1] and not list(outside.iterdir())


async def test_a_link_in_place_of_a_file_is_replaced(store: LocalStore, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    (tmp_path / "workspace" / "dataset").mkdir(parents=True)
    (tmp_path / "workspace" / "dataset" / "a.csv").symlink_to(kept)
    code, _, _ = await run("dataset-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data/a.csv")
    assert code == 0 and kept.read_text() == "mine" and (tmp_path / "workspace/dataset/a.csv").read_text() == "a.csv"


class HubServer(BaseHTTPRequestHandler):
    """A hub with one data set and one model, in two pages; a file lies at another host's name."""

    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        HubServer.seen.append((self.path, self.headers.get("Authorization", "")))
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.path.startswith("/api/") and "private" in self.path:
            self.send_error(401)
        elif self.path.startswith("/api/") and "page=2" not in self.path:
            self._say(json.dumps([{"type": "directory", "path": "data"},
                                  {"type": "file", "path": "data/a b.json", "size": 4}]),
                      Link=f'<{here}{self.path}&page=2>; rel="next"')
        elif self.path.startswith("/api/"):
            self._say(json.dumps([{"type": "file", "path": "weights.bin", "size": 4}]))
        elif "/resolve/" in self.path:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/content")
            self.end_headers()
        else:
            self._say("text")

    def _say(self, text: str, **headers: str) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests' output is not the place."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), HubServer) as server:
        HubServer.seen.clear()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}/")
        yield str(server.server_address[1])
        server.shutdown()
        thread.join()


async def test_a_data_set_and_a_model_of_the_hub(store: LocalStore, tmp_path: Path, hub: str) -> None:
    code, there, lines = await run("dataset-initializer", store, tmp_path, STORAGE_URI="hf://owner/data",
                                   HF_TOKEN="secret")
    assert (code, there) == (0, ["dataset/data/a b.json", "dataset/weights.bin"]), lines
    asked = dict(HubServer.seen)
    assert asked["/datasets/owner/data/resolve/main/data/a%20b.json"] == "Bearer secret"
    assert asked["/content"] == "", "a token is not for where content lies"
    code, there, lines = await run("model-initializer", store, tmp_path, STORAGE_URI="hf://owner/model")
    assert code == 0 and there[2:] == ["model/data/a b.json"], "of models only what upstream takes"


@pytest.mark.parametrize(("uri", "words"), [("hf://owner/private", "does not show owner/private (401)")])
async def test_what_the_hub_refuses(store: LocalStore, tmp_path: Path, hub: str, uri: str, words: str) -> None:
    code, _, lines = await run("dataset-initializer", store, tmp_path, STORAGE_URI=uri)
    assert code == 1 and words in lines[-1] and "HF_TOKEN" in lines[-1]


async def test_a_hub_out_of_reach(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    code, _, lines = await run("dataset-initializer", store, tmp_path, STORAGE_URI="hf://owner/data")
    assert code == 1 and "cannot be reached from this machine" in lines[-1] and "Put the files" in lines[-1]
