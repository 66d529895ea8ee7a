"""The model server keeps to the Open Inference Protocol's own description: every check of schemathesis, no finding.

50 examples an operation here; ``slow`` runs 1,000.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from lightship.modelserver.options import Options
from lightship.modelserver.server import ModelServer
from tests.sdks import sdk_python

HERE = Path(__file__).parent
SCHEMATHESIS = "schemathesis==4.32.5"
WILD = """
[checks.positive_data_acceptance]
# The file cannot say that data must fit its shape, or which outputs there are: to refuse is right then.
expected-statuses = ["2xx", 400]
"""

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("examples", [50, pytest.param(1000, marks=pytest.mark.proof)])
@pytest.mark.parametrize("requests", ["wild", "served"])
async def test_the_protocols_description(tmp_path: Path, requests: str, examples: int) -> None:
    python = await asyncio.to_thread(sdk_python, SCHEMATHESIS)
    rows, labels = load_iris(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=1000).fit(rows, labels), tmp_path / "model.joblib")
    config = tmp_path / "schemathesis.toml"
    config.write_text((HERE / "schemathesis.toml").read_text() + (WILD if requests == "wild" else ""))
    environment = os.environ | {"PYTHONPATH": str(HERE), "NO_COLOR": "1"}
    mode: tuple[str, ...] = ()
    if requests == "served":
        environment["SERVED_SHAPES"] = "1"
        mode = ("--mode", "positive")  # what breaks our narrower description need not break the protocol's
    server = ModelServer(Options(model_name="m", model_dir=tmp_path, http_port=0, host="127.0.0.1"))
    await server.listen()
    try:
        await server.load()
        process = await asyncio.create_subprocess_exec(
            python.parent / "schemathesis", "--config-file", config, "run", HERE / "open-inference-v2.openapi.yaml",
            "--url", f"http://127.0.0.1:{server.port}", "--checks", "all", "--max-examples", str(examples),
            "--generation-database", "none", *mode, env=environment, cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        said, _ = await asyncio.wait_for(process.communicate(), 1100)
    finally:
        await server.drain()
    assert process.returncode == 0, said.decode()[-6000:]
