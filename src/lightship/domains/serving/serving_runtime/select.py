"""Which runtime serves a model: upstream's rules. Pure; ``inference_service.decide`` calls me.

A runtime that the model names is looked up in its namespace, then in the cluster, and must support the format. Else
the namespace's runtimes come before the cluster's, and among each the highest priority for the format, then the lower
protocol, then the newest, then the name decides; only formats marked ``autoSelect`` count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightship.domains.serving import names
from lightship.domains.serving.serving_runtime import types
from lightship.kube import objects
from lightship.kube.objects import Object


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a model asks of a runtime. ``version``, ``protocol`` and ``runtime`` may be empty."""

    format: str
    version: str = ""
    protocol: str = ""
    assumed_protocol: str = "v1"
    """What is meant where no protocol is given and the runtime is to be found; one that is named may speak any."""
    runtime: str = ""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why there is no runtime: a reason of ``lastFailureInfo`` and a sentence."""

    reason: str
    message: str


def select(wanted: Wanted, in_namespace: Sequence[Object], in_cluster: Sequence[Object]) -> Object | Refusal:
    """The runtime for a model, or why there is none."""
    if wanted.runtime:
        return _named(wanted, (*in_namespace, *in_cluster))
    for scope in (in_namespace, in_cluster):
        fitting = [runtime for runtime in scope if _fits(wanted, types.parse(runtime), explicit=False)]
        if fitting:
            return _best(wanted, fitting)
    known = sorted({supported.name for runtime in (*in_namespace, *in_cluster)
                    for supported in types.parse(runtime).supported_model_formats})
    return Refusal(reason=names.NO_SUPPORTING_RUNTIME,
                   message=f"no runtime supports format {_describe(wanted)}; runtimes here support "
                           f"{', '.join(known) or 'nothing'}")


def _named(wanted: Wanted, runtimes: Iterable[Object]) -> Object | Refusal:
    found = next((runtime for runtime in runtimes if objects.name(runtime) == wanted.runtime), None)
    if found is None:
        return Refusal(reason=names.RUNTIME_NOT_RECOGNIZED,
                       message=f'there is no ServingRuntime or ClusterServingRuntime "{wanted.runtime}"')
    spec = types.parse(found)
    if spec.disabled:
        return Refusal(reason=names.RUNTIME_DISABLED, message=f'runtime "{wanted.runtime}" is disabled')
    if not _fits(wanted, spec, explicit=True):
        return Refusal(reason=names.NO_SUPPORTING_RUNTIME,
                       message=f'runtime "{wanted.runtime}" does not support format {_describe(wanted)}')
    return found


def _fits(wanted: Wanted, spec: types.RuntimeSpec, *, explicit: bool) -> bool:
    if spec.disabled or spec.multi_model or spec.worker_spec is not None:
        return False
    protocol = wanted.protocol or ("" if explicit else wanted.assumed_protocol)
    if protocol and spec.protocol_versions and protocol not in spec.protocol_versions:
        return False
    return any(_matches(wanted, supported) and (explicit or supported.auto_select)
               for supported in spec.supported_model_formats)


def _matches(wanted: Wanted, supported: types.SupportedFormat) -> bool:
    return supported.name == wanted.format and (not wanted.version or supported.version == wanted.version)


def _best(wanted: Wanted, fitting: Sequence[Object]) -> Object:
    # Sorts are stable: the last sort is the first criterion.
    ordered = sorted(fitting, key=objects.name)
    ordered.sort(key=lambda runtime: str(objects.meta(runtime).get("creationTimestamp", "")), reverse=True)
    ordered.sort(key=lambda runtime: _protocol_order(types.parse(runtime)))
    ordered.sort(key=lambda runtime: _priority(wanted, types.parse(runtime)), reverse=True)
    return ordered[0]


def _priority(wanted: Wanted, spec: types.RuntimeSpec) -> int:
    return max((supported.priority or 0 for supported in spec.supported_model_formats
                if supported.auto_select and _matches(wanted, supported)), default=0)


def _protocol_order(spec: types.RuntimeSpec) -> int:
    return min((_PROTOCOLS.get(protocol, _UNKNOWN) for protocol in spec.protocol_versions), default=_UNKNOWN)


_PROTOCOLS = {"v1": 1, "v2": 2, "grpc-v1": 3, "grpc-v2": 4}
_UNKNOWN = 5


def _describe(wanted: Wanted) -> str:
    version = f" version {wanted.version}" if wanted.version else ""
    return f'"{wanted.format}"{version} with protocol {wanted.protocol or wanted.assumed_protocol}'
