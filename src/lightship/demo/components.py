"""The demo's steps up to a blessed model, as KFP lightweight components.

``pipeline`` wires me. KFP takes each function's source and runs it in a Pod, so that a function imports what it needs
inside itself and knows nothing of this module. Annotations are read by KFP: no ``from __future__ import annotations``.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

SCIKIT_LEARN = "scikit-learn==1.9.1"
"""One version for the steps and the model server: a fitted model is read only by the version that wrote it."""

IMAGE = f"python:{sys.version_info.major}.{sys.version_info.minor}"
"""This very Python's version, which is surely on this machine."""

step: Callable[..., Any] = partial(dsl.component, base_image=IMAGE, packages_to_install=[SCIKIT_LEARN])


@step()
def ingest(data: Output[Dataset]) -> int:
    """Write the breast cancer data set, which scikit-learn ships, as a table: 30 measures and the label."""
    import csv

    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in bunch.feature_names]
    with open(data.path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*names, "benign"])
        table.writerows([*map(float, row), int(label)] for row, label in zip(bunch.data, bunch.target))
    data.metadata.update({"rows": len(bunch.target), "features": len(names), "label": "benign"})
    print(f"{len(bunch.target)} rows of {len(names)} measures")
    return len(bunch.target)


@step()
def statistics(data: Input[Dataset], result: Output[Artifact]) -> None:
    """Count and measure every column."""
    import json

    import numpy

    with open(data.path) as file:
        names = file.readline().strip().split(",")
        table = numpy.genfromtxt(file, delimiter=",")
    columns = {}
    for name, values in zip(names, table.T):
        present = values[~numpy.isnan(values)]
        columns[name] = {
            "present": int(present.size), "missing": int(values.size - present.size),
            "unique": int(numpy.unique(present).size), "mean": float(present.mean()), "std": float(present.std()),
            "min": float(present.min()), "median": float(numpy.median(present)), "max": float(present.max()),
        }
    with open(result.path, "w") as file:
        json.dump({"rows": int(table.shape[0]), "columns": columns}, file, indent=1, sort_keys=True)
    result.metadata.update({"kind": "statistics", "rows": int(table.shape[0])})


@step()
def validate(statistics: Input[Artifact], schema: dict, report: Output[Artifact]) -> None:
    """Compare the statistics with the schema; anomalies bear TensorFlow Data Validation's names and fail the step."""
    import json

    with open(statistics.path) as file:
        seen = json.load(file)
    anomalies = []
    if seen["rows"] < schema["minimum_rows"]:
        anomalies.append(("DATASET_LOW_NUM_EXAMPLES", "", f"{seen['rows']} rows of {schema['minimum_rows']}"))
    for name, rule in schema["columns"].items():
        column = seen["columns"].get(name)
        if column is None:
            anomalies.append(("SCHEMA_MISSING_COLUMN", name, "not in the data"))
            continue
        if column["missing"]:
            anomalies.append(("FEATURE_TYPE_LOW_FRACTION_PRESENT", name, f"{column['missing']} values missing"))
        if column["min"] < rule["min"]:
            anomalies.append(("FLOAT_TYPE_SMALL_FLOAT", name, f"{column['min']} < {rule['min']}"))
        if column["max"] > rule["max"]:
            anomalies.append(("FLOAT_TYPE_BIG_FLOAT", name, f"{column['max']} > {rule['max']}"))
        if column["unique"] < 2:
            anomalies.append(("FEATURE_TYPE_LOW_UNIQUE", name, "always the same value"))
    anomalies += [("SCHEMA_NEW_COLUMN", name, "not in the schema") for name in seen["columns"]
                  if name not in schema["columns"]]
    with open(report.path, "w") as file:
        json.dump([{"type": kind, "column": name, "detail": detail} for kind, name, detail in anomalies], file)
    report.metadata.update({"kind": "anomalies", "anomalies": len(anomalies)})
    if anomalies:
        raise ValueError("the data does not fit the schema: " + "; ".join(" ".join(each) for each in anomalies))
    print(f"{seen['rows']} rows, {len(seen['columns'])} columns: no anomaly")


@step()
def transform(data: Input[Dataset], seed: int, train: Output[Dataset], validation: Output[Dataset],
              test: Output[Dataset], transformer: Output[Artifact]) -> None:
    """Split 60/20/20, stratified, and fit the scaling on the training part alone, so that nothing leaks."""
    import joblib
    import numpy
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    with open(data.path) as file:
        header = file.readline().strip()
        table = numpy.genfromtxt(file, delimiter=",")
    first, rest = train_test_split(table, test_size=0.4, random_state=seed, stratify=table[:, -1])
    second, third = train_test_split(rest, test_size=0.5, random_state=seed, stratify=rest[:, -1])
    for output, rows in ((train, first), (validation, second), (test, third)):
        numpy.savetxt(output.path, rows, delimiter=",", header=header, comments="", fmt="%.17g")
        output.metadata.update({"rows": len(rows)})
    joblib.dump(StandardScaler().fit(first[:, :-1]), transformer.path)
    transformer.metadata.update({"kind": "transformer"})


@step()
def train(algorithm: str, seed: int, data: Input[Dataset], transformer: Input[Artifact], model: Output[Model]) -> str:
    """Fit one candidate. What is saved takes raw rows: the fitted scaling travels inside the model."""
    import os

    import joblib
    import numpy
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    candidates = {
        "logistic-regression": lambda: LogisticRegression(max_iter=1000, random_state=seed),
        "random-forest": lambda: RandomForestClassifier(n_estimators=100, random_state=seed),
        "gradient-boosting": lambda: GradientBoostingClassifier(random_state=seed),
    }
    table = numpy.genfromtxt(data.path, delimiter=",", skip_header=1)
    scaling = joblib.load(transformer.path)
    classifier = candidates[algorithm]().fit(scaling.transform(table[:, :-1]), table[:, -1].astype(int))
    os.makedirs(model.path, exist_ok=True)
    fitted = Pipeline([("transform", scaling), ("classify", classifier)])
    joblib.dump(fitted, os.path.join(model.path, "model.joblib"))
    model.metadata.update({"algorithm": algorithm, "framework": "sklearn", "rows": len(table)})
    return algorithm


@step()
def evaluate(
    models: Input[list[Model]],
    validation: Input[Dataset],
    test: Input[Dataset],
    minimum_accuracy: float,
    best: Output[Model],
    metrics: Output[Metrics],
) -> NamedTuple("Evaluation", [("blessed", bool), ("accuracy", float), ("algorithm", str)]):  # type: ignore[valid-type]
    """Choose on the validation rows, judge on the test rows: blessed is what also beats the baseline clearly."""
    import os
    import shutil

    import joblib
    import numpy
    from sklearn.dummy import DummyClassifier

    chosen = numpy.genfromtxt(validation.path, delimiter=",", skip_header=1)
    unseen = numpy.genfromtxt(test.path, delimiter=",", skip_header=1)
    scores = {}
    for model in models:
        fitted = joblib.load(os.path.join(model.path, "model.joblib"))
        scores[model.metadata["algorithm"]] = (fitted.score(chosen[:, :-1], chosen[:, -1]), model.path)
        print(f"{model.metadata['algorithm']}: {scores[model.metadata['algorithm']][0]:.4f} on the validation rows")
    algorithm = max(sorted(scores), key=lambda name: scores[name][0])
    shutil.copytree(scores[algorithm][1], best.path, dirs_exist_ok=True)
    accuracy = float(joblib.load(os.path.join(best.path, "model.joblib")).score(unseen[:, :-1], unseen[:, -1]))
    baseline = float(DummyClassifier().fit(chosen[:, :-1], chosen[:, -1]).score(unseen[:, :-1], unseen[:, -1]))
    blessed = accuracy >= minimum_accuracy and accuracy >= baseline + 0.1
    for name, (score, _) in scores.items():
        metrics.log_metric(f"validation accuracy {name}", float(score))
    metrics.log_metric("accuracy", accuracy)
    metrics.log_metric("baseline accuracy", baseline)
    best.metadata.update({"algorithm": algorithm, "accuracy": accuracy, "framework": "sklearn"})
    print(f"{algorithm}: {accuracy:.4f} on the test rows, baseline {baseline:.4f}, blessed: {blessed}")
    return blessed, accuracy, algorithm
