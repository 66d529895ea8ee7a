"""What a user of the ``kserve`` SDK does with an InferenceService: run by its own interpreter, with nothing of ours.

I say "all done" at the end.
"""

from __future__ import annotations

import sys

from kserve import (
    KServeClient,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1PredictorSpec,
    V1beta1TransformerSpec,
    constants,
)
from kubernetes.client import V1Container, V1ContainerPort, V1EnvVar, V1ObjectMeta

NAME, NAMESPACE = "shelf", "default"


def container(version: str) -> V1Container:
    return V1Container(name="kserve-container", image="python:3.12", command=["python3"],
                       args=["-m", "http.server", "8080"], ports=[V1ContainerPort(container_port=8080)],
                       env=[V1EnvVar(name="MODEL", value=version)])


def service(version: str, **predictor: object) -> V1beta1InferenceService:
    return V1beta1InferenceService(
        api_version=constants.KSERVE_V1BETA1, kind=constants.KSERVE_KIND_INFERENCESERVICE,
        metadata=V1ObjectMeta(name=NAME, namespace=NAMESPACE),
        spec=V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(
            min_replicas=1, containers=[container(version)], **predictor)))


def traffic(client: KServeClient) -> dict[str, int]:
    found = client.get(NAME, namespace=NAMESPACE)["status"]["components"]["predictor"]["traffic"]
    return {target.get("tag") or "latest": target["percent"] for target in found}


def main() -> None:
    client = KServeClient(config_file=sys.argv[1])
    client.create(service("one"))
    client.wait_isvc_ready(NAME, namespace=NAMESPACE, timeout_seconds=90)
    first = client.get(NAME, namespace=NAMESPACE)
    assert first["status"]["observedGeneration"] == first["metadata"]["generation"], first
    assert traffic(client) == {"latest": 100}
    assert first["status"]["url"].endswith(f"/serving/{NAMESPACE}/{NAME}")

    # A canary by per cent, as upstream's end-to-end tests have it, then all of it.
    client.patch(NAME, service("two", canary_traffic_percent=20), namespace=NAMESPACE)
    client.wait_isvc_ready(NAME, namespace=NAMESPACE, timeout_seconds=90)
    assert traffic(client) == {"latest": 20, "prev": 80}, client.get(NAME, namespace=NAMESPACE)["status"]
    client.replace(NAME, service("two"), namespace=NAMESPACE, watch=True, timeout_seconds=90)
    assert traffic(client) == {"latest": 100}
    rolled = client.get(NAME, namespace=NAMESPACE)["status"]["components"]["predictor"]
    assert rolled["previousRolledoutRevision"] == "shelf-predictor-00001", rolled
    assert rolled["latestRolledoutRevision"] == "shelf-predictor-00002", rolled

    # A transformer before it.
    both = service("two")
    both.spec.transformer = V1beta1TransformerSpec(min_replicas=1, containers=[V1Container(
        name="kserve-container", image="python:3.12",
        command=["python3", "-c", "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8080)"])])
    client.patch(NAME, both, namespace=NAMESPACE)
    client.wait_isvc_ready(NAME, namespace=NAMESPACE, timeout_seconds=90)
    kinds = {each["type"]: each["status"] for each in client.get(NAME, namespace=NAMESPACE)["status"]["conditions"]}
    assert kinds["TransformerReady"] == kinds["PredictorReady"] == kinds["Ready"] == "True", kinds

    # What is wrong is refused in upstream's words.
    bad = service("two")
    bad.metadata.name = "9shelves"
    try:
        client.create(bad)
    except RuntimeError as problem:
        assert "a InferenceService name must consist of lower case" in str(problem), problem
    else:
        raise AssertionError("a name that begins with a digit was accepted")

    assert len(client.get(namespace=NAMESPACE)["items"]) == 1
    client.delete(NAME, namespace=NAMESPACE)
    print("all done")


if __name__ == "__main__":
    main()
