"""A first Pod: created, awaited, its log read and itself deleted with the official Kubernetes client.

Needs: kubernetes==37.0.2
Run it: lightship up --detach; lightship status -o json | python examples/first_pod.py
"""

import json
import sys

from kubernetes import client, config, watch

NAMESPACE = "default"


def main() -> None:
    platform = json.load(sys.stdin)
    config.load_kube_config(platform["kubeconfig"])
    pods = client.CoreV1Api()
    container = client.V1Container(name="main", image="python:3.11", command=["python3", "-c", "print('a Pod speaks')"])
    made = pods.create_namespaced_pod(NAMESPACE, client.V1Pod(
        metadata=client.V1ObjectMeta(generate_name="first-"),
        spec=client.V1PodSpec(containers=[container], restart_policy="Never")))
    name = made.metadata.name
    changes = watch.Watch()
    phase = "Pending"
    for event in changes.stream(pods.list_namespaced_pod, NAMESPACE, field_selector=f"metadata.name={name}",
                                timeout_seconds=120):
        phase = event["object"].status.phase
        print(f"{name}: {phase}")
        if phase in ("Succeeded", "Failed"):
            changes.stop()
    log = pods.read_namespaced_pod_log(name, NAMESPACE)
    print(log, end="")
    pods.delete_namespaced_pod(name, NAMESPACE)
    if phase != "Succeeded" or "a Pod speaks" not in log:
        sys.exit(1)


if __name__ == "__main__":
    main()
