"""An address of its own for each Pod: of the Pods' network, or where there is none, of 127.0.0.0/8.

Pure but for what is taken. ``pod_network`` takes and gives back.
"""

from __future__ import annotations

import hashlib

from lightship import errors

_BLOCK = 250 * 254
"""Addresses in a node's block: 127.B.1.1 to 127.B.250.254."""


_POD_ADDRESSES = 255 * 256 + 250


class PodAddresses:
    """10.244.0.2 to 10.244.255.250, each one again only when all others have had their turn."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._next = 2

    def take(self) -> str:
        """Raises ``errors.Unavailable`` when there is none."""
        for _ in range(_POD_ADDRESSES):
            number = self._next
            self._next = number + 1 if number < _POD_ADDRESSES else 2
            if number % 256 not in (0, 255) and number not in self._used:
                self._used.add(number)
                return f"10.244.{number // 256}.{number % 256}"
        raise errors.Unavailable("all Pod addresses of this node are taken")

    def give_back(self, address: str) -> None:
        third, fourth = address.split(".")[2:]
        self._used.discard(int(third) * 256 + int(fourth))


class Addresses:
    """The addresses of one node. ``seed`` (its directory) picks the block, so that two servers seldom share one."""

    def __init__(self, seed: str) -> None:
        self._second = 1 + hashlib.sha256(seed.encode()).digest()[0] % 250
        self._taken: dict[str, str] = {}
        self._used: set[str] = set()
        self._next = 0

    def take(self, owner: str) -> str:
        """The address of ``owner``, which is not given to another until it is given back."""
        if owner in self._taken:
            return self._taken[owner]
        for _ in range(_BLOCK):
            number = self._next
            self._next = (self._next + 1) % _BLOCK
            address = f"127.{self._second}.{1 + number // 254}.{1 + number % 254}"
            if address not in self._used:
                self._used.add(address)
                self._taken[owner] = address
                return address
        raise errors.Unavailable("all Pod addresses of this node are taken")

    def give_back(self, owner: str) -> None:
        address = self._taken.pop(owner, None)
        if address is not None:
            self._used.discard(address)
