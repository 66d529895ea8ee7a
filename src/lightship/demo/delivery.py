"""The demo's steps after the blessing, as KFP lightweight components: register, deploy, predict. Never cached.

``pipeline`` wires me. Each step acts as its Pod's own ServiceAccount, by plain HTTP, just as it would on a cluster.
"""

from typing import Any, NamedTuple

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from lightship.demo.components import step


def call(method: str, url: str, body: Any = None, content_type: str = "application/json") -> Any:
    """One JSON request with the Pod's token; an answer of 400 or more raises ``RuntimeError`` with the server's words.

    KFP copies me into the steps that name me; a 404 or 409 is returned as ``None`` for the caller to act on.
    """
    import json
    import ssl
    import urllib.error
    import urllib.request

    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    with open(f"{account}/token") as file:
        headers = {"authorization": f"Bearer {file.read().strip()}", "content-type": content_type}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    context = ssl.create_default_context(cafile=f"{account}/ca.crt") if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if error.code in (404, 409):
            return None
        raise RuntimeError(f"{method} {url}: {error.code} {error.read()[:500].decode(errors='replace')}") from error


@step(additional_funcs=[call])
def register(
    model: Input[Model], name: str, registry_url: str, run_id: str, pipeline_name: str
) -> NamedTuple("Registered", [("version", str), ("version_id", str), ("model_id", str)]):  # type: ignore[valid-type]
    """Make the next version of ``name`` in the Model Registry, with its artifact and the run it came from."""
    import urllib.parse

    def found_or_made() -> dict:
        query = urllib.parse.urlencode({"name": name})
        known = call("GET", f"{registry_url}/registered_model?{query}")
        made = known or call("POST", f"{registry_url}/registered_models", {"name": name, "state": "LIVE"})
        return made or call("GET", f"{registry_url}/registered_model?{query}")

    def text(value: str) -> dict:
        return {"metadataType": "MetadataStringValue", "string_value": value}

    owner = found_or_made()
    if owner is None:
        raise RuntimeError(f"{registry_url} is no Model Registry: it knows no registered models")
    versions = f"{registry_url}/registered_models/{owner['id']}/versions"
    taken = call("GET", f"{versions}?pageSize=100&orderBy=CREATE_TIME&sortOrder=DESC")["items"]
    number = 1 + max([int(each["name"]) for each in taken if each["name"].isdigit()], default=0)
    properties = {
        "algorithm": text(model.metadata["algorithm"]),
        "accuracy": {"metadataType": "MetadataDoubleValue", "double_value": model.metadata["accuracy"]},
        "run": text(run_id),
    }
    body = {"name": str(number), "registeredModelId": owner["id"], "state": "LIVE", "customProperties": properties}
    version = call("POST", versions, body)
    if version is None:
        raise RuntimeError(f"version {number} of {name} was made by somebody else meanwhile; run the pipeline again")
    artifact = {
        "artifactType": "model-artifact", "name": f"{name}-{number}", "uri": model.uri, "state": "LIVE",
        "modelFormatName": "sklearn", "modelFormatVersion": "1", "modelSourceKind": "kfp",
        "modelSourceClass": "pipelinerun", "modelSourceId": run_id, "modelSourceName": pipeline_name,
    }
    call("POST", f"{registry_url}/model_versions/{version['id']}/artifacts", artifact)
    print(f"{name} version {number}: {model.uri}")
    return str(number), version["id"], owner["id"]


@step(additional_funcs=[call])
def deploy(model: Input[Model], name: str, version: str, version_id: str, model_id: str, timeout_seconds: int) -> str:
    """Serve the version as an InferenceService and wait until this very generation is ready; returns its URL."""
    import os
    import time

    with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as file:
        namespace = file.read().strip()
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    services = f"{server}/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
    wanted = {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
        "metadata": {"name": name, "labels": {
            "modelregistry/registered-model-id": model_id, "modelregistry/model-version-id": version_id}},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": model.uri}}},
    }
    made = call("POST", services, wanted)
    if made is None:
        made = call("PATCH", f"{services}/{name}", wanted, "application/merge-patch+json")
    generation = made["metadata"]["generation"]
    print(f"{name} generation {generation}: version {version} from {model.uri}")
    deadline = time.monotonic() + timeout_seconds
    said = ""
    while True:
        status = (call("GET", f"{services}/{name}") or {}).get("status") or {}
        conditions = {each["type"]: each for each in status.get("conditions", [])}
        ready = conditions.get("Ready", {})
        transition = status.get("modelStatus", {}).get("transitionStatus", "UpToDate")
        current = status.get("observedGeneration", 0) >= generation
        if current and ready.get("status") == "True" and transition == "UpToDate":
            print(f"ready at {status['url']}")
            return status["url"]
        story = "; ".join(f"{kind}={each['status']} {each.get('reason', '')} {each.get('message', '')}".strip()
                          for kind, each in sorted(conditions.items()))
        if story != said:
            said = story
            print(said)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} was not ready within {timeout_seconds} s: {said or 'no condition yet'}")
        time.sleep(0.2)


@step(additional_funcs=[call])
def predict(
    url: str, name: str, model: Input[Model], test: Input[Dataset], metrics: Output[Metrics]
) -> NamedTuple("Served", [("accuracy", float), ("rows", int)]):  # type: ignore[valid-type]
    """Send every test row through the gateway, by both protocols; what is served must be what the model itself says."""
    import os
    import time

    import joblib
    import numpy

    table = numpy.genfromtxt(test.path, delimiter=",", skip_header=1)
    rows, labels = table[:, :-1], table[:, -1].astype(int)
    own = joblib.load(os.path.join(model.path, "model.joblib")).predict(rows)

    def served(path: str, body: dict) -> dict:
        for _ in range(50):  # a route may take a moment to reach the gateway: ten seconds at most
            answer = call("POST", f"{url}{path}", body)
            if answer is not None:
                return answer
            time.sleep(0.2)
        raise RuntimeError(f"{url}{path}: 404 for ten seconds")

    version_1: list = []
    for start in range(0, len(rows), 20):
        body = {"instances": rows[start:start + 20].tolist()}
        version_1 += served(f"/v1/models/{name}:predict", body)["predictions"]
    tensor = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}
    version_2 = served(f"/v2/models/{name}/infer", {"inputs": [tensor]})["outputs"][0]["data"]
    for protocol, answers in (("V1", version_1), ("V2", version_2)):
        if [int(each) for each in answers] != own.tolist():
            raise ValueError(f"what {protocol} serves is not what the model itself predicts")
    accuracy = float((numpy.array(version_1, dtype=int) == labels).mean())
    metrics.log_metric("served accuracy", accuracy)
    metrics.log_metric("rows", len(rows))
    print(f"{len(rows)} rows served by V1 and V2, all as the model itself says; accuracy {accuracy:.4f}")
    return accuracy, len(rows)
