"""What every object's metadata must look like, and the least of a kind whose type is not known.

Pure data. ``shapes`` converts against me; the built-in kinds' types are in ``kubernetes_types``.
"""

from __future__ import annotations

from typing import Any

import msgspec

Strings = dict[str, str]
Free = dict[str, Any]


class OwnerReference(msgspec.Struct):
    apiVersion: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    blockOwnerDeletion: bool | None = None


class ObjectMeta(msgspec.Struct):
    name: str | None = None
    generateName: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resourceVersion: str | None = None
    generation: int | None = None
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None
    labels: Strings | None = None
    annotations: Strings | None = None
    finalizers: list[str] | None = None
    ownerReferences: list[OwnerReference] | None = None
    managedFields: list[Free] | None = None


class Loose(msgspec.Struct):
    """Any other kind: spec and status are objects."""

    spec: Free | None = None
    status: Free | None = None
