"""Compiles the demo's pipeline and submits it with the kfp SDK's own client, unmodified.

``command`` calls me. I am the only place of the demo's verb that imports kfp, and I do so late: the SDK is an extra,
and importing it takes half a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.demo.errors import SdkMissing
from lightship.demo.platform import REGISTRY, Platform

EXPERIMENT = "demo"
VERSIONS_PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What to run: ``file`` is the compiled pipeline."""

    file: Path
    name: str
    minimum_accuracy: float


def compile_to(file: Path, *, cache: bool = True) -> str:
    """Compile the pipeline into ``file`` and return its name; without ``cache`` no step is cached.

    The SDK's ``enable_caching`` is no help: it does nothing for a run of an uploaded version, and forgets nested steps.

    Raises ``SdkMissing``.
    """
    with _quiet():
        try:
            from lightship.demo import pipeline
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "kfp":
                raise
            raise SdkMissing(
                "the kfp SDK is not installed, and the demo's pipeline is authored with it",
                remedy="install it with: pip install 'lightship[demo]' (in a clone: ./dev demo does so)") from error
        pipeline.compile_to(file)
        if not cache:
            file.write_text(file.read_text().replace("enableCache: true", "enableCache: false"))
        return pipeline.NAME


def submit(platform: Platform, submission: Submission) -> str:
    """Upload the pipeline (a version an edition, by its digest) and start a run of it; returns the run's id."""
    with _quiet():
        import kfp
        from kfp_server_api import ApiException

        try:
            client = kfp.Client(host=platform.info.url, existing_token=platform.token)
            experiment = client.create_experiment(EXPERIMENT)
            pipeline_id, version_id = _uploaded(client, submission)
            run = client.run_pipeline(
                experiment.experiment_id, submission.name, pipeline_id=pipeline_id, version_id=version_id,
                params={"registry_url": platform.info.url + REGISTRY, "minimum_accuracy": submission.minimum_accuracy})
        except ApiException as error:
            raise errors.LightshipError(f"the platform refused the pipeline: {_said(error)}") from error
    return str(run.run_id)


def _uploaded(client: Any, submission: Submission) -> tuple[str, str]:
    edition = hashlib.sha256(submission.file.read_bytes()).hexdigest()[:12]
    name = submission.file.stem
    pipeline_id = client.get_pipeline_id(name)
    if pipeline_id is None:
        made = client.upload_pipeline(str(submission.file), name, "the demo's machine-learning lifecycle")
        pipeline_id = made.pipeline_id
    versions = client.list_pipeline_versions(pipeline_id, page_size=VERSIONS_PAGE, sort_by="created_at desc")
    for version in versions.pipeline_versions or []:
        if version.display_name == edition:
            return pipeline_id, version.pipeline_version_id
    made = client.upload_pipeline_version(str(submission.file), edition, pipeline_id=pipeline_id)
    return pipeline_id, made.pipeline_version_id


def _said(error: Any) -> str:
    try:
        body = json.loads(error.body)
        return str(body.get("error_message") or body.get("message") or body.get("error") or error.body)
    except (TypeError, ValueError):
        return f"{error.status} {error.reason}"


@contextlib.contextmanager
def _quiet() -> Any:
    """The SDK prints links and warns of its own dependencies; neither is for the demo's reader."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
