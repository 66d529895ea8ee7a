"""What a component takes of its own Pod's configuration as a value: KFP's TaskConfig. Pure; ``children`` calls me.

A component that starts Pods of its own (a trainer) is given the environment, resources, volumes and placement that its
task was configured with, and passes them on. What it so takes is not set on the task's Pod, unless it says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lightship.domains.pipelines import ir
from lightship.kube.objects import Object

_PLACEMENT = {ir.AFFINITY: "affinity", ir.TOLERATIONS: "tolerations", ir.NODE_SELECTOR: "nodeSelector"}


def take(pod: Object, main: Object, wanted: Mapping[str, bool], ours: Collection[str]) -> dict[str, Any]:
    """The TaskConfig of a whole Pod; what does not apply to the task itself is taken out of the Pod.

    ``wanted`` says of each field that is passed whether it applies to the task too; ``ours`` are the names of the
    variables and volumes that are the engine's and not the task's.
    """
    spec = pod["spec"]
    config: dict[str, Any] = dict.fromkeys(("affinity", "tolerations", "nodeSelector", "env", "volumes",
                                            "volumeMounts"))
    config["resources"] = {}
    for field, key in _PLACEMENT.items():
        if field in wanted and key in spec:
            config[key] = spec[key]
            if not wanted[field]:
                del spec[key]
    if ir.RESOURCES in wanted:
        config["resources"] = main.get("resources") or {}
        if not wanted[ir.RESOURCES]:
            main.pop("resources", None)
    if ir.ENV in wanted:
        config["env"] = [variable for variable in main["env"] if variable["name"] not in ours]
        if not wanted[ir.ENV]:
            main["env"] = [variable for variable in main["env"] if variable["name"] in ours]
    if ir.VOLUMES in wanted:
        config["volumes"] = [volume for volume in spec["volumes"] if volume["name"] not in ours]
        config["volumeMounts"] = [mount for mount in main["volumeMounts"] if mount["name"] not in ours]
        if not wanted[ir.VOLUMES]:
            spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] in ours]
            main["volumeMounts"] = [mount for mount in main["volumeMounts"] if mount["name"] in ours]
    return config
