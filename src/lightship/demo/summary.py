"""What the demo proved, in numbers read back from the platform: for a person as text, for a script as JSON.

``command`` calls me after a run that succeeded; I ask the registry, the Kubernetes API and the gateway.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from lightship.demo import progress
from lightship.demo.errors import DemoFailed
from lightship.demo.platform import INFERENCE_SERVICES, REGISTRY, Platform
from lightship.demo.progress import Step

NAMESPACE = "default"
PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Field names are the JSON's. ``accuracy`` is the model's on the test rows, ``servedAccuracy`` the endpoint's."""

    accuracy: float
    servedAccuracy: float
    servedRows: int
    algorithm: str
    model: str
    modelVersion: str
    endpoint: str
    curl: str
    answer: list[int]
    run: str
    page: str
    artifacts: str
    cached: list[str]
    seconds: float
    kept: bool


def gather(platform: Platform, run: Mapping[str, Any], name: str, steps: Sequence[Step]) -> Summary:
    """Read back what the run left. Raises ``DemoFailed`` where something that should be there is not."""
    run_id = str(run["run_id"])
    version, properties = _version(platform, name, run_id)
    service = platform.kube(INFERENCE_SERVICES.format(namespace=NAMESPACE) + f"/{name}")
    endpoint = str(service["status"]["url"])
    sample = _sample_file(Path(platform.info.dataDir))
    address = f"{endpoint}/v1/models/{name}:predict"
    answer = platform.predict(address, sample.read_bytes())["predictions"]
    served = _outputs(steps, "predict")
    began, ended = _times(steps)
    return Summary(
        accuracy=float(properties["accuracy"]), servedAccuracy=float(served["accuracy"]),
        servedRows=int(served["rows"]), algorithm=str(properties["algorithm"]), model=name, modelVersion=version,
        endpoint=endpoint, curl=_curl(platform, address, sample), answer=[int(each) for each in answer],
        run=f"{platform.info.url}/runs/{run_id}", page=f"{platform.info.url}/login?token={platform.token}",
        artifacts=str(Path(platform.info.dataDir) / "artifacts"),
        cached=[step.label for step in steps if step.state == progress.CACHED],
        seconds=round((ended - began), 1), kept=False)


def replaced(summary: Summary, *, kept: bool) -> Summary:
    """The same, once it is known whether the platform still runs."""
    return replace(summary, kept=kept)


def as_json(summary: Summary) -> str:
    return json.dumps(asdict(summary), indent=2) + "\n"


def as_text(summary: Summary, lightship: str, data_dir_flag: str) -> str:
    """The closing page. ``lightship`` is how the reader can call us, ``data_dir_flag`` what other verbs need to find
    this data directory, or empty.
    """
    cached = ", ".join(summary.cached) or "nothing (run the demo again to see the cache work)"
    lines = [
        "",
        f"  accuracy      {summary.accuracy:.4f} on rows that no training saw ({summary.algorithm})",
        f"  served        {summary.servedRows} rows by V1 and V2, each answer the model's own;"
        f" accuracy {summary.servedAccuracy:.4f}",
        f"  model         {summary.model} version {summary.modelVersion}, in the registry",
        f"  endpoint      {summary.endpoint}",
        f"  run           {summary.run}",
        f"  artifacts     {summary.artifacts}",
        f"  from cache    {cached}",
        "",
        "  Ask the model (three patients; 0 is malignant, 1 benign):" if summary.kept else
        f"  The platform is stopped. Start it again with: {lightship} up --detach{data_dir_flag}\n"
        "  Then ask the model (three patients; 0 is malignant, 1 benign):",
        "",
        f"    {summary.curl}",
        "",
        f"  It has just answered {summary.answer}.",
    ]
    if summary.kept:
        lines += ["", f"  The page is at {summary.page}",
                  f"  Stop everything with: {lightship} down{data_dir_flag}"]
    return "\n".join(lines) + "\n"


def _version(platform: Platform, name: str, run_id: str) -> tuple[str, dict[str, Any]]:
    """The version that this run registered, with its properties, plain."""
    owner = platform.rest(f"{REGISTRY}/registered_model?name={name}")
    listed = platform.rest(
        f"{REGISTRY}/registered_models/{owner['id']}/versions?pageSize={PAGE}&orderBy=CREATE_TIME&sortOrder=DESC")
    for version in listed["items"]:
        properties = {key: next((field for kind, field in value.items() if kind.endswith("_value")), None)
                      for key, value in version.get("customProperties", {}).items()}
        if properties.get("run") == run_id:
            return str(version["name"]), properties
    raise DemoFailed(f"the registry holds no version of {name} from run {run_id}")


def _outputs(steps: Sequence[Step], name: str) -> Mapping[str, Any]:
    return next(step.outputs for step in steps if step.name == name)


def _times(steps: Sequence[Step]) -> tuple[float, float]:
    begins = [step.begin.timestamp() for step in steps if step.begin]
    ends = [step.end.timestamp() for step in steps if step.end]
    return min(begins, default=0.0), max(ends, default=0.0)


def _sample_file(data_dir: Path) -> Path:
    """The request of the printed curl, as a file in the data directory, where its reader can change it."""
    file = data_dir / "demo-request.json"
    file.write_text(resources.files("lightship.demo").joinpath("sample.json").read_text())
    return file


def _curl(platform: Platform, address: str, sample: Path) -> str:
    token = f'"Authorization: Bearer $(cat {shlex.quote(platform.info.tokenFile)})"'
    return f"curl -sS {address} -H {token} -H 'Content-Type: application/json' -d @{shlex.quote(str(sample))}"
