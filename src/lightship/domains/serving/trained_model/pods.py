"""What a server of several models has in its Pod: the list of its models, a folder for them, and the agent. Pure.

``inference_service.templates`` calls me. By upstream's rule a predictor is such a server when it says a model's format
and not where a model lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightship
from lightship.domains.serving import names
from lightship.kube.objects import Object

AGENT = "agent"
AGENT_ENTRYPOINT = "model-agent"
AGENT_IMAGE = f"lightship.dev/{AGENT_ENTRYPOINT}:{lightship.__version__}"
CONFIG_VOLUME = "model-config"
CONFIG_DIRECTORY = "/mnt/configs"
CONFIG_FILE = "models.json"
_MODEL_SERVERS = ("lightship.dev/modelserver", "kserve/sklearnserver")
_ALONE = "huggingface"
"""The one format whose model may come from elsewhere, by its arguments."""


def config_name(service: str) -> str:
    """The ConfigMap with the list of a service's models; upstream's shards are one here."""
    return f"modelconfig-{service}-0"


def several_models(predictor: Mapping[str, Any]) -> bool:
    """Whether a predictor, as admission left it, is a server of several models."""
    model = predictor.get("model")
    if not isinstance(model, Mapping) or predictor.get("storageUris"):
        return False
    named = (model.get("modelFormat") or {}).get("name")
    return not model.get("storageUri") and not model.get("storage") and named != _ALONE


def add(pod: Object, service: str) -> None:
    """Give the Pod what a server of several models has."""
    main, *others = pod["containers"]
    mount: Object = {"name": names.MODEL_VOLUME, "mountPath": names.MODEL_DIRECTORY}
    mounts = [one for one in main.get("volumeMounts") or () if one.get("mountPath") != names.MODEL_DIRECTORY]
    main = main | {"volumeMounts": [*mounts, mount | {"readOnly": True}]}
    if str(main.get("image", "")).startswith(_MODEL_SERVERS):
        main["args"] = [*(main.get("args") or ()), "--multi_model=true"]
    agent: Object = {
        "name": AGENT, "image": AGENT_IMAGE, "args": [names.MODEL_DIRECTORY, CONFIG_DIRECTORY],
        "volumeMounts": [mount, {"name": CONFIG_VOLUME, "mountPath": CONFIG_DIRECTORY, "readOnly": True}]}
    pod["containers"] = [main, *others, agent]
    pod["volumes"] = [*(pod.get("volumes") or ()), {"name": names.MODEL_VOLUME, "emptyDir": {}},
                      {"name": CONFIG_VOLUME, "configMap": {"name": config_name(service)}}]
