"""The demo's pipeline, authored with the kfp SDK as anybody would.

``command`` compiles and submits me; ``components`` and ``delivery`` hold the steps. Only a process that authors imports
me, since I import kfp.
"""

import json
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from lightship.demo import components, delivery

NAME = "breast-cancer"
SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text())
CANDIDATES = ["logistic-regression", "random-forest", "gradient-boosting"]


@dsl.pipeline(name=NAME, description="From a data set to a served model, each step recorded.")
def lifecycle(registry_url: str, name: str = NAME, seed: int = 0, minimum_accuracy: float = 0.9) -> None:
    """Ingest, validate, transform, train three candidates, bless one, register, deploy, predict."""
    data = components.ingest()
    counted = components.statistics(data=data.outputs["data"])
    valid = components.validate(statistics=counted.outputs["result"], schema=SCHEMA)
    parts = components.transform(data=data.outputs["data"], seed=seed).after(valid)
    with dsl.ParallelFor(CANDIDATES, name="candidates") as algorithm:
        trained = components.train(
            algorithm=algorithm, seed=seed, data=parts.outputs["train"], transformer=parts.outputs["transformer"])
    verdict = components.evaluate(
        models=dsl.Collected(trained.outputs["model"]), validation=parts.outputs["validation"],
        test=parts.outputs["test"], minimum_accuracy=minimum_accuracy)
    with dsl.If(verdict.outputs["blessed"] == True, name="blessed"):  # noqa: E712  (kfp reads the comparison)
        version = delivery.register(
            model=verdict.outputs["best"], name=name, registry_url=registry_url,
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, pipeline_name=NAME)
        version.set_caching_options(False)
        endpoint = delivery.deploy(
            model=verdict.outputs["best"], name=name, version=version.outputs["version"],
            version_id=version.outputs["version_id"], model_id=version.outputs["model_id"], timeout_seconds=300)
        endpoint.set_caching_options(False)
        served = delivery.predict(
            url=endpoint.output, name=name, model=verdict.outputs["best"], test=parts.outputs["test"])
        served.set_caching_options(False)


def compile_to(path: Path) -> None:
    """Write the pipeline's IR (YAML) to ``path``."""
    compiler.Compiler().compile(lifecycle, str(path))
