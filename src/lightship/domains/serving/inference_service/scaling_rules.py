"""What a component may say about scaling and storage, by upstream's rules and in its words. Pure.

``admission`` calls me.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from lightship import errors
from lightship.domains.furniture import FieldError
from lightship.domains.serving import names, storage
from lightship.domains.serving.errors import BadStorageUri
from lightship.domains.serving.inference_service.types import STORAGE_KEY_SCHEME, Extension, StorageLocation
from lightship.kube import quantities

AUTOSCALER_CLASSES = ("hpa", "external", "keda", "none")
_PERCENT = "the target utilization percentage should be a [1-100] integer"
_MEBIBYTE = Decimal(1024 * 1024)


def replicas(extension: Extension, path: str) -> Iterator[FieldError]:
    """Numbers of Pods and of requests."""
    low, high = extension.min_replicas, extension.max_replicas
    if extension.container_concurrency is not None and extension.container_concurrency < 0:
        yield FieldError(path=f"{path}.containerConcurrency", message="parallelism cannot be less than 0")
    if low is not None and low < 0:
        yield FieldError(path=f"{path}.minReplicas", message="'MinReplicas' cannot be less than 0")
    if high is not None and high < 0:
        yield FieldError(path=f"{path}.maxReplicas", message="'MaxReplicas' cannot be less than 0")
    elif high and (1 if low is None else low) > high:
        yield FieldError(path=f"{path}.maxReplicas", message="'MinReplicas' cannot be greater than MaxReplicas")
    for name, number in (("scaleTarget", extension.scale_target), ("timeout", extension.timeout)):
        if number is not None and number < 0:
            yield FieldError(path=f"{path}.{name}", message="must be 0 or more")
    percent = extension.canary_traffic_percent
    if percent is not None and not 0 <= percent <= 100:
        yield FieldError(path=f"{path}.canaryTrafficPercent", message="must be between 0 and 100")
    logger = extension.logger
    if logger is not None and logger.storage is not None and not all(
            logger.storage.get(field) for field in ("path", "parameters", "key")):
        yield FieldError(path=f"{path}.logger.storage", message="invalid logger storage configuration")


def scaling(extension: Extension, annotations: Mapping[str, str], mode: str, path: str) -> Iterator[FieldError]:
    """Metrics and targets, by whoever scales in this mode."""
    asked = annotations.get(names.AUTOSCALER_ANNOTATION)
    if mode == names.STANDARD_MODE:
        if asked == "hpa":
            yield from _hpa(extension, path)
        elif asked == "keda":
            yield from _keda(extension, path)
    elif annotations.get(names.KNATIVE_CLASS_ANNOTATION) == "hpa.autoscaling.knative.dev":
        yield from _hpa(extension, path)
    else:
        yield from _knative(extension, path)


def _hpa(extension: Extension, path: str) -> Iterator[FieldError]:
    metric, target = extension.scale_metric or "cpu", extension.scale_target
    if metric not in ("cpu", "memory"):
        yield FieldError(path=f"{path}.scaleMetric", message=f"[{metric}] is not a supported metric")
    if target is not None and not 1 <= target <= 100:
        yield FieldError(path=f"{path}.scaleTarget", message=_PERCENT)
    for place, each in enumerate(_metrics(extension)):
        where = f"{path}.autoScaling.metrics[{place}]"
        if each.get("type") != "Resource":
            yield FieldError(path=where, message=f"invalid HPA metric source type with value [{each.get('type')}],"
                                                 "valid metric source types are Resource")
        elif each.get("resource") is None:
            yield FieldError(path=where, message="metricSpec.Resource is not set for resource metric source type")


def _keda(extension: Extension, path: str) -> Iterator[FieldError]:
    if extension.scale_metric is not None:
        yield FieldError(path=f"{path}.scaleMetric", message="ScaleMetric is not supported for KEDA")
    for place, each in enumerate(_metrics(extension)):
        where = f"{path}.autoScaling.metrics[{place}]"
        kind = each.get("type")
        if kind == "Resource":
            yield from _keda_resource(each.get("resource"), where)
        elif kind in ("External", "PodMetric"):
            yield from _keda_query(each.get(str(kind).lower()), str(kind), where)
        else:
            yield FieldError(path=where, message=f"unknown KEDA metric type with value [{kind}]."
                                                 "Valid types are Resource,External,PodMetric")


def _keda_resource(resource: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(resource, Mapping):
        yield FieldError(path=path, message="metricSpec.Resource is not set for resource metric source type")
        return
    target = resource.get("target") or {}
    name, kind = resource.get("name"), target.get("type")
    if name == "cpu" and kind != "Utilization":
        yield FieldError(path=path, message="the cpu target value type should be Utilization")
    elif name == "memory" and kind not in ("AverageValue", "Utilization"):
        yield FieldError(path=path, message="the memory target value type should be AverageValue or Utilization")
    elif name not in ("cpu", "memory"):
        yield FieldError(path=path, message=f"resource type {name} is not supported")
    elif kind == "AverageValue" and not _at_least_a_mebibyte(target.get("averageValue")):
        yield FieldError(path=path, message="the memory target value should be greater than 1 MiB")
    else:
        yield from _target(target, path)


def _keda_query(source: Any, kind: str, path: str) -> Iterator[FieldError]:
    if not isinstance(source, Mapping):
        yield FieldError(path=path, message=f"metricSpec.{kind} is not set for "
                                            f"{'external' if kind == 'External' else 'pod'} metric source type")
    elif not (source.get("metric") or {}).get("query"):
        yield FieldError(path=path, message="the query should not be empty")
    elif (source.get("target") or {}).get("value") is None:
        yield FieldError(path=path, message="the target threshold value should not be empty")
    else:
        yield from _target(source["target"], path)


def _target(target: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    field = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}.get(
        str(target.get("type")), "")
    if field and target.get(field) is None:
        yield FieldError(path=path, message=f"the {field[0].upper()}{field[1:]} type should be set")
    elif field == "averageUtilization" and not 1 <= int(target[field]) <= 100:
        yield FieldError(path=path, message=_PERCENT)


def _knative(extension: Extension, path: str) -> Iterator[FieldError]:
    if extension.deployment_strategy is not None:
        yield FieldError(path=f"{path}.deploymentStrategy",
                         message="customizing deploymentStrategy is only supported for raw deployment mode")
    metric = extension.scale_metric or "concurrency"
    if metric not in ("concurrency", "rps"):
        yield FieldError(path=f"{path}.scaleMetric", message=f"[{metric}] is not a supported metric")
    elif metric == "rps" and extension.scale_target is not None and extension.scale_target < 1:
        yield FieldError(path=f"{path}.scaleTarget", message="the target for rps should be greater than 1")


def _metrics(extension: Extension) -> Sequence[Mapping[str, Any]]:
    found = (extension.auto_scaling or {}).get("metrics") or ()
    return [each for each in found if isinstance(each, Mapping)]


def _at_least_a_mebibyte(value: Any) -> bool:
    try:
        return value is not None and quantities.parse(value) >= _MEBIBYTE
    except errors.InvalidInput:
        return False


# ---- storage


def locations(given: Sequence[StorageLocation], path: str) -> Iterator[FieldError]:
    """Several storage locations: where they may be mounted."""
    fetched: list[str] = []
    claims: list[str] = []
    for place, location in enumerate(given):
        where = f"{path}[{place}]"
        if not location.uri:
            yield FieldError(path=f"{where}.uri", message="storage URI cannot be empty")
        else:
            yield from uri(location.uri, f"{where}.uri")
        mount = location.mount_path
        if mount == "/":
            yield FieldError(path=f"{where}.mountPath", message="storage path cannot be empty")
        elif not mount.startswith("/"):
            yield FieldError(path=f"{where}.mountPath", message=f"storage path must be absolute: {mount}")
        elif ".." in mount:
            yield FieldError(path=f"{where}.mountPath",
                             message=f"storage path cannot contain '..' for security reasons: {mount}")
        else:
            (claims if location.uri.startswith("pvc://") else fetched).append(mount)
    if len(set(claims)) < len(claims):
        yield FieldError(path=path, message="PVC storage paths must be unique")
    if len(fetched) > 1 and posixpath.commonpath(fetched) == "/":
        yield FieldError(path=path, message="storage paths must have a common parent directory. Current paths: "
                                            f"[{' '.join(fetched)}] have no common parent beyond root")


def uri(text: str, path: str) -> Iterator[FieldError]:
    """One storage location's own form; whether it can be fetched is the Pod's business."""
    if text.startswith(STORAGE_KEY_SCHEME):
        return
    try:
        storage.parse(text)
    except BadStorageUri as problem:
        yield FieldError(path=path, message=str(problem))
