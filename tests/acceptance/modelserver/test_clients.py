"""Unmodified clients against the model server: Triton's, KServe's, OpenAI's, each in an environment of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from lightship.modelserver import formats
from lightship.modelserver.options import Options
from lightship.modelserver.server import ModelServer
from tests.sdks import sdk_python
from tests.unit.modelserver import formats_for_tests

HERE = Path(__file__).parent
TRITON = ("tritonclient[http,grpc]==2.55.0",)
KSERVE = ("kserve==0.21.0",)
OPENAI = ("openai==3.57.0",)

pytestmark = pytest.mark.sdk


async def run(python: Path, script: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        python, HERE / script, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said.decode()
    assert said.decode().rstrip().endswith("all done")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    rows, labels = load_iris(return_X_y=True)
    for name in ("m", "two"):
        (tmp_path / name).mkdir()
        joblib.dump(LogisticRegression(max_iter=1000).fit(rows, labels), tmp_path / name / "model.joblib")
    return tmp_path


async def test_tritons_clients(models: Path) -> None:
    python = await asyncio.to_thread(sdk_python, *TRITON)
    server = ModelServer(Options(model_name="m", model_dir=models, multi_model=True, http_port=0, grpc_port=0,
                                 host="127.0.0.1"))
    await server.listen()
    try:
        await server.load()
        # gRPC is spoken on its own port and on HTTP's.
        await run(python, "triton_script.py", f"127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc_port}",
                  f"127.0.0.1:{server.port}")
    finally:
        await server.drain()


async def test_kserves_clients(models: Path) -> None:
    python = await asyncio.to_thread(sdk_python, *KSERVE)
    server = ModelServer(Options(model_name="m", model_dir=models / "m", http_port=0, grpc_port=0, host="127.0.0.1"))
    await server.listen()
    try:
        await server.load()
        await run(python, "kserve_script.py", f"http://127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc_port}")
    finally:
        await server.drain()


async def test_openais_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = await asyncio.to_thread(sdk_python, *OPENAI)
    monkeypatch.setitem(formats.LOADERS, "tests", formats_for_tests.__name__)
    server = ModelServer(Options(model_name="m", model_dir=tmp_path, http_port=0, host="127.0.0.1", format="tests",
                                 flags={"kind": "speaker"}))
    await server.listen()
    try:
        await server.load()
        await run(python, "openai_script.py", f"http://127.0.0.1:{server.port}/openai/v1")
        model = formats_for_tests.MADE[-1]
        assert model.closed == len(model.requests) - 1, "the one that is refused never began"
    finally:
        await server.drain()
