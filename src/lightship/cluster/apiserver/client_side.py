"""kubectl's client-side apply as server-side apply sees it: whoever turns from the one to the other meets no conflict.

``applies`` calls me where the applier is kubectl itself. What client-side apply wrote last is in an annotation: fields
that still have those values are kubectl's own, whoever the managed fields name. The annotation is kept in step as long
as it is there, so that the way back is open.
"""

from __future__ import annotations

import msgspec

from lightship.cluster.apiserver import fields
from lightship.cluster.apiserver.fields import Fields, Shape
from lightship.kube import objects, patches
from lightship.kube.objects import Object

MANAGER = "kubectl"
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
LIMIT_ANNOTATION_BYTES = 256 * 1024
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def applied_before(live: Object, shape: Shape) -> Fields:
    """The fields that client-side apply wrote last and that nobody has changed since."""
    try:
        last = msgspec.json.decode(objects.annotations(live).get(ANNOTATION) or "null")
    except msgspec.MsgspecError:
        return {}
    if not isinstance(last, dict):
        return {}
    changed = fields.compared(live, patches.merge(live, last), shape)[0] or {}
    return fields.minus(fields.of_value(last, shape), changed)


def recorded(obj: Object, applied: Object) -> Object:
    """``obj`` with what was applied now in the annotation, where it has one."""
    annotations = objects.annotations(obj)
    if ANNOTATION not in annotations:
        return obj
    metadata = {key: value for key, value in applied["metadata"].items() if key not in ("annotations", "managedFields")}
    own = {key: value for key, value in objects.annotations(applied).items() if key != ANNOTATION}
    shown = applied | {"metadata": metadata | ({"annotations": own} if own else {})}
    text = msgspec.json.encode(shown, order="sorted").decode().translate(_ESCAPES) + "\n"
    if len(text) > LIMIT_ANNOTATION_BYTES:
        return obj
    return obj | {"metadata": obj["metadata"] | {"annotations": annotations | {ANNOTATION: text}}}
