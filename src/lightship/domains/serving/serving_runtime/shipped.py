"""The ClusterServingRuntimes that Lightship ships, under upstream's names. Pure data; ``bootstrap`` creates them.

Only formats that this version's model server can load are listed: an InferenceService of another format then says in
its status that no runtime supports it, instead of starting a Pod that cannot work.
"""

from __future__ import annotations

from collections.abc import Sequence

import lightship
from lightship.domains.serving import kinds, names
from lightship.kube.objects import Object

IMAGE = f"lightship.dev/modelserver-sklearn:{lightship.__version__}"


def runtimes() -> Sequence[Object]:
    """sklearn over V1 and V2; and upstream's name for V2 alone, which wins by priority where V2 is asked for."""
    return (
        _runtime("kserve-sklearnserver", protocols=["v1", "v2"], formats=[_format("1", 1)]),
        _runtime("kserve-mlserver", protocols=["v2"], formats=[_format("0", 2), _format("1", 2)]),
    )


def _format(version: str, priority: int) -> Object:
    return {"name": "sklearn", "version": version, "autoSelect": True, "priority": priority}


def _runtime(name: str, *, protocols: Sequence[str], formats: Sequence[Object]) -> Object:
    return {
        "apiVersion": kinds.CLUSTER_SERVING_RUNTIMES.api_version,
        "kind": kinds.CLUSTER_SERVING_RUNTIMES.kind,
        "metadata": {"name": name, "labels": {names.SHIPPED_LABEL: "true"}},
        "spec": {
            "annotations": {"prometheus.kserve.io/port": str(names.HTTP_PORT),
                            "prometheus.kserve.io/path": "/metrics"},
            "supportedModelFormats": list(formats),
            "protocolVersions": list(protocols),
            "containers": [{
                "name": names.CONTAINER,
                "image": IMAGE,
                "args": ["--model_name={{.Name}}", f"--model_dir={names.MODEL_DIRECTORY}",
                         f"--http_port={names.HTTP_PORT}", "--format=sklearn"],
                "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": names.HTTP_PORT},
                                   "periodSeconds": 1, "timeoutSeconds": 5},
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "privileged": False,
                                    "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }
