"""What one pass of the scheduler comes to: bindings, nodes chosen for volumes, and why others wait. Pure data.

``decide`` makes me and ``builtin.scheduler`` carries me out.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightship.cluster.builtin.scheduling.facts import PodFacts
from lightship.kube.objects import Key


@dataclass(frozen=True, kw_only=True)
class Binding:
    pod: PodFacts
    node: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A node for whose sake a volume is to be made; the Pod is bound once it is there."""

    pod: PodFacts
    node: str
    claims: tuple[Key, ...]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why ``pod`` waits, in a sentence; and, where others make room for it, on which ``node``, and who."""

    pod: PodFacts
    message: str
    node: str = ""
    victims: tuple[PodFacts, ...] = ()
    lasting: str = ""
    """The beginning of ``message`` that stays true while the rest changes: told again only when this is another."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a PodGroup fared: why it waits, or that it waits no more where ``message`` is empty."""

    group: Key
    message: str = ""
    lasting: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    bindings: tuple[Binding, ...] = ()
    choices: tuple[Choice, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    look_again_seconds: float | None = None
    """A pass is wanted then even if nothing changes."""
