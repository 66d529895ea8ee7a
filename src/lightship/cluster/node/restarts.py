"""Whether a container that has ended is started again, and after what wait. Pure; ``container_life`` calls me."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

RestartPolicy = Literal["Always", "OnFailure", "Never"]
_EXPONENT_LIMIT = 8


@dataclass(frozen=True, kw_only=True)
class CrashBackOff:
    """How long a container that crashes again and again waits: as kubelet has it, on whatever scale."""

    first_seconds: float = 10.0

    @property
    def limit_seconds(self) -> float:
        return 30 * self.first_seconds

    @property
    def reset_seconds(self) -> float:
        """A container that ran this long has its back-off forgiven."""
        return 60 * self.first_seconds

    def seconds(self, crashes: int) -> float:
        """The wait before the next start after ``crashes`` restarts in a row; none before the first."""
        if crashes <= 0:
            return 0.0
        return min(self.first_seconds * 2.0 ** min(crashes - 1, _EXPONENT_LIMIT), self.limit_seconds)


def policy_of(pod_spec: Mapping[str, Any], container: Mapping[str, Any], *, init: bool) -> RestartPolicy:
    """The container's own policy, else what its Pod's means for it."""
    if container.get("restartPolicy"):
        own: RestartPolicy = container["restartPolicy"]
        return own
    policy: RestartPolicy = pod_spec.get("restartPolicy") or "Always"
    if init and policy == "Always":
        return "OnFailure"
    return policy


def again(policy: RestartPolicy, rules: list[Mapping[str, Any]], exit_code: int) -> bool:
    """Whether it starts again: by the first of its ``restartPolicyRules`` that matches, else by its policy."""
    for rule in rules:
        codes = rule.get("exitCodes") or {}
        hit = exit_code in (codes.get("values") or ())
        if hit == (codes.get("operator") != "NotIn") and str(rule.get("action") or "").startswith("Restart"):
            return True
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)
