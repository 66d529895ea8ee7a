"""The demo's steps do what they say, run as plain functions on real data; tests/acceptance has the platform's part."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from lightship.cluster.node import catalogue
from lightship.demo import components, delivery, pipeline

ROOT = Path(__file__).resolve().parent.parent.parent.parent


class Bench:
    """Makes artifacts in a folder, and runs a component's own function."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, kind: type[Any], name: str) -> Any:
        return kind(name=name, uri=str(self.folder / name), metadata={})

    def run(self, component: Any, **arguments: Any) -> Any:
        return component.python_func(**arguments)

    def statistics(self) -> tuple[Any, Any]:
        data, counted = self.new(dsl.Dataset, "data"), self.new(dsl.Artifact, "statistics")
        self.run(components.ingest, data=data)
        self.run(components.statistics, data=data, result=counted)
        return data, counted

    def candidates(self, algorithms: list[str]) -> tuple[list[Any], Any, Any]:
        data, _ = self.statistics()
        parts = {name: self.new(dsl.Dataset, name) for name in ("train", "validation", "test")}
        transformer = self.new(dsl.Artifact, "transformer")
        self.run(components.transform, data=data, seed=7, transformer=transformer, **parts)
        models = []
        for algorithm in algorithms:
            models.append(self.new(dsl.Model, algorithm))
            self.run(components.train, algorithm=algorithm, seed=7, data=parts["train"], transformer=transformer,
                     model=models[-1])
        return models, parts["validation"], parts["test"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_steps_and_the_model_server_hold_one_scikit_learn() -> None:
    assert components.SCIKIT_LEARN in catalogue.MODEL_SERVER_REQUIREMENTS
    assert components.SCIKIT_LEARN in (ROOT / "locks" / "all.txt").read_text()


def test_the_data_fits_the_schema(bench: Bench) -> None:
    _, counted = bench.statistics()
    report = bench.new(dsl.Artifact, "report")
    bench.run(components.validate, statistics=counted, schema=pipeline.SCHEMA, report=report)
    assert json.loads(Path(report.path).read_text()) == []
    assert counted.metadata["rows"] == 569


@pytest.mark.parametrize(("spoil", "anomaly"), [
    (lambda schema: schema.update(minimum_rows=10_000), "DATASET_LOW_NUM_EXAMPLES"),
    (lambda schema: schema["columns"]["mean_radius"].update(max=1), "FLOAT_TYPE_BIG_FLOAT mean_radius"),
    (lambda schema: schema["columns"].update(colour={"min": 0, "max": 1}), "SCHEMA_MISSING_COLUMN colour"),
    (lambda schema: schema["columns"].pop("mean_area"), "SCHEMA_NEW_COLUMN mean_area"),
])
def test_an_anomaly_fails_the_step_by_name(bench: Bench, spoil: Any, anomaly: str) -> None:
    _, counted = bench.statistics()
    schema = json.loads(json.dumps(pipeline.SCHEMA))
    spoil(schema)
    report = bench.new(dsl.Artifact, "report")
    with pytest.raises(ValueError, match=anomaly):
        bench.run(components.validate, statistics=counted, schema=schema, report=report)
    assert json.loads(Path(report.path).read_text())


@pytest.mark.parametrize(("minimum", "blessed"), [(0.9, True), (1.1, False)])
def test_the_best_candidate_is_blessed_only_above_the_bar(bench: Bench, minimum: float, blessed: bool) -> None:
    models, validation, test = bench.candidates(["logistic-regression", "gradient-boosting"])
    best, metrics = bench.new(dsl.Model, "best"), bench.new(dsl.Metrics, "metrics")
    verdict = bench.run(components.evaluate, models=models, validation=validation, test=test, minimum_accuracy=minimum,
                        best=best, metrics=metrics)
    assert verdict[0] is blessed
    assert verdict[1] > metrics.metadata["baseline accuracy"] + 0.1
    assert best.metadata["algorithm"] in ("logistic-regression", "gradient-boosting")
    assert os.listdir(best.path) == ["model.joblib"]


def test_predict_refuses_answers_that_are_not_the_models_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import joblib
    import numpy

    models, _, test = bench.candidates(["logistic-regression"])
    fitted = joblib.load(Path(models[0].path) / "model.joblib")
    lie: list[int] = []

    def gateway(method: str, url: str, body: Any = None, content_type: str = "") -> Any:
        if "instances" in body:
            return {"predictions": fitted.predict(numpy.array(body["instances"])).tolist()}
        tensor = body["inputs"][0]
        rows = numpy.array(tensor["data"]).reshape(tensor["shape"])
        return {"outputs": [{"data": fitted.predict(rows).tolist()[:-1] + (lie or [int(fitted.predict(rows)[-1])])}]}

    monkeypatch.setattr(delivery, "call", gateway)
    metrics = bench.new(dsl.Metrics, "metrics")
    arguments = {"url": "http://gateway", "name": "m", "model": models[0], "test": test, "metrics": metrics}
    accuracy, rows = bench.run(delivery.predict, **arguments)
    assert rows == 114
    assert accuracy > 0.9
    lie.append(7)
    with pytest.raises(ValueError, match="V2 serves is not what the model itself predicts"):
        bench.run(delivery.predict, **arguments)


def test_the_pipeline_compiles_and_caches_only_what_has_no_effect_elsewhere(tmp_path: Path) -> None:
    import yaml

    pipeline.compile_to(tmp_path / "pipeline.yaml")
    document = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    cached = {name: bool(task.get("cachingOptions", {}).get("enableCache"))
              for dag in [document["root"], *document["components"].values()] if "dag" in dag
              for name, task in dag["dag"]["tasks"].items() if "cachingOptions" in task}
    assert {name for name, on in cached.items() if not on} >= {"register", "deploy", "predict"}
    assert {name for name, on in cached.items() if on} >= {
        "ingest", "statistics", "validate", "transform", "train", "evaluate"}
    images = {executor["container"]["image"] for executor in document["deploymentSpec"]["executors"].values()}
    assert images == {components.IMAGE}
