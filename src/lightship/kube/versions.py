"""The order of API versions by stability: v2, v1, v1beta2, v1alpha1, and after those what is not named so.

Pure. Discovery says which version of a group is preferred, and the storage of custom kinds asks too.
"""

from __future__ import annotations

import re

_KUBE_LIKE = re.compile(r"v([1-9][0-9]{0,8})(?:(alpha|beta)([1-9][0-9]{0,8}))?\Z", re.ASCII)
_STABILITY = {None: 3, "beta": 2, "alpha": 1}

Rank = tuple[int, int, int, tuple[int, ...]]


def rank(version: str) -> Rank:
    """A sort key; the greater, the more preferred. Other names come last, the earlier in the alphabet the better."""
    match = _KUBE_LIKE.match(version)
    if match is None:
        return (0, 0, 0, (*tuple(-ord(letter) for letter in version), 1))
    return (_STABILITY[match[2]], int(match[1]), int(match[3] or 0), ())
