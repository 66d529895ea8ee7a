"""Names and ids as an argument, so that a test or a simulation can repeat them.

Everyone who invents a name takes an ``IdSource``.
"""

from __future__ import annotations

import os
import random
import uuid
from typing import Protocol

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own: no vowels and no look-alikes, so that no suffix is ever a word."""


_DRAWN_UIDS = 64
_VARIANTS = "89ab"
"""The digit of a version 4 UUID that holds its variant, and two bits of randomness."""


class IdSource(Protocol):
    """Makes new ids. ``suffix`` is what Kubernetes appends to ``generateName``."""

    def uid(self) -> str: ...

    def suffix(self, length: int = 5) -> str: ...


class RandomIds:
    """Ids from the system's randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._drawn = b""

    def uid(self) -> str:
        if not self._drawn:
            self._drawn = os.urandom(_DRAWN_UIDS * 16)  # the call costs more than a uid's worth of what it gives
        drawn, self._drawn = self._drawn[:16], self._drawn[16:]
        text = drawn.hex()
        return (f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANTS[drawn[8] >> 6]}{text[17:20]}-{text[20:]}")

    def suffix(self, length: int = 5) -> str:
        return "".join(self._random.choices(SUFFIX_ALPHABET, k=length))


class SeededIds:
    """Ids that one seed repeats: for tests and simulations only."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def suffix(self, length: int = 5) -> str:
        return "".join(self._random.choices(SUFFIX_ALPHABET, k=length))
