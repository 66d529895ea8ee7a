"""Which of a training's nodes failed first, with its last words, as far as Pods have said. Without I/O.

``reconciler`` subscribes me to its Pods, since a Job deletes the Pods of an attempt that has failed; I keep what each
said last until the TrainJob is over. When a node dies its peers mostly do, too, and what they say is of no use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lightship.domains.training import names
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object

LIMIT_TRAINJOBS = 2000
LIMIT_NODES = 256
"""So many failed nodes of one TrainJob are kept."""
LIMIT_WORDS_CHARACTERS = 700
LIMIT_WORDS_LINES = 12
_INDEX = "batch.kubernetes.io/job-completion-index"
_ATTEMPT = "jobset.sigs.k8s.io/restart-attempt"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a container of one Pod ended."""

    pod: str
    step: str
    index: str
    round: tuple[int, int]
    """The attempt of the whole, and of this Pod's container."""
    moment: str
    exit: str
    words: str

    def told(self) -> str:
        """One paragraph for a person."""
        said = f": {self.words}" if self.words else ""
        return f"{self.step} {self.index} failed first (Pod {self.pod}, {self.exit}){said}"


def training_of(pod: Object) -> Key | None:
    """The TrainJob that a Pod is of."""
    name = objects.labels(pod).get(names.JOB_SET_LABEL)
    return Key(objects.namespace(pod), name) if name else None


def failure_of(pod: Object) -> Failure | None:
    """How the Pod has failed; None where it did not, or where somebody else ended it."""
    if objects.meta(pod).get("deletionTimestamp") or conditions.is_true(pod, "DisruptionTarget"):
        return None
    return min(_failures(pod), key=lambda failure: failure.moment, default=None)


def _failures(pod: Object) -> Iterator[Failure]:
    labels = objects.labels(pod)
    for state in objects.status(pod).get("containerStatuses") or ():
        ended = (state.get("state") or {}).get("terminated") or (state.get("lastState") or {}).get("terminated") or {}
        if not ended.get("exitCode") or ended.get("reason") == names.LOST_CONTAINER:
            continue
        attempt = labels.get(_ATTEMPT, "")
        lies = bool((state.get("state") or {}).get("terminated"))  # it was not started again since
        yield Failure(
            pod=objects.name(pod), step=labels.get(names.REPLICATED_JOB_LABEL, "Pod"), index=labels.get(_INDEX, "0"),
            round=(int(attempt) if attempt.isdigit() else 0, int(state.get("restartCount") or 0) - (not lies)),
            moment=str(ended.get("finishedAt") or ""), exit=_exit(ended), words=_cut(str(ended.get("message") or "")))


def _exit(ended: objects.Object) -> str:
    reason = ended.get("reason")
    return f"exit code {ended['exitCode']}" + (f", {reason}" if reason and reason != "Error" else "")


def _cut(text: str) -> str:
    """The last lines, and of those the last characters."""
    lines = "\n".join(text.strip().splitlines()[-LIMIT_WORDS_LINES:])
    return lines if len(lines) <= LIMIT_WORDS_CHARACTERS else "... " + lines[-LIMIT_WORDS_CHARACTERS:]


class Witness:
    """What was seen, by TrainJob. ``news`` is told once."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Key, dict[str, Failure]] = OrderedDict()
        self._told: dict[Key, tuple[int, int]] = {}

    def pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A subscriber of the Pods' informer."""
        key = training_of(new) if new is not None else None
        failure = failure_of(new) if new is not None and key is not None else None
        if key is None or failure is None:
            return
        seen = self._seen.setdefault(key, {})
        if failure.pod in seen or len(seen) < LIMIT_NODES:
            seen[failure.pod] = failure
        while len(self._seen) > LIMIT_TRAINJOBS:
            self.forget(next(iter(self._seen)))

    def first(self, key: Key) -> Failure | None:
        """Who failed first, of the latest attempt that anybody failed in."""
        everyone = self._seen.get(key, {}).values()
        latest = max((failure.round for failure in everyone), default=None)
        return min((failure for failure in everyone if failure.round == latest),
                   key=lambda failure: (failure.moment, failure.pod), default=None)

    def news(self, key: Key) -> Failure | None:
        """The first failure of an attempt that nothing was told of yet."""
        first = self.first(key)
        return first if first is not None and self._told.get(key, (-1, -1)) < first.round else None

    def told(self, key: Key, failure: Failure) -> None:
        if key in self._seen:
            self._told[key] = failure.round

    def forget(self, key: Key) -> None:
        """The TrainJob is over, or gone."""
        self._seen.pop(key, None)
        self._told.pop(key, None)


def wakes(pod: Object) -> Iterable[Key]:
    """The TrainJob of a Pod that has failed; of any other change of a Pod nobody need hear."""
    key = training_of(pod)
    return (key,) if key is not None and failure_of(pod) is not None else ()
