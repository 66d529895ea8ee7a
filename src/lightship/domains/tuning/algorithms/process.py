"""A worker: the process in which searches that need numeric libraries are at work. ``worker.Suggesters`` starts me.

I read asks from standard input and write answers to standard output, in their order, and end when the input does: with
the server, however that ends. What a library prints goes to standard error.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from typing import BinaryIO

from lightship.domains.tuning.algorithms import wire
from lightship.domains.tuning.algorithms.engines import ALGORITHMS
from lightship.domains.tuning.algorithms.search import Told
from lightship.domains.tuning.algorithms.telling import Engine


class Study:
    """One Experiment's engine, and what it was told of ended Trials."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ended: list[Told] = []


class Desk:
    """Answers asks; knows a study only while it was not told to forget it."""

    def __init__(self) -> None:
        self._studies: dict[str, Study] = {}

    def answer(self, ask: wire.Ask) -> wire.Answer:
        for name in ask.forget:
            self._studies.pop(name, None)
        if not ask.experiment:
            return wire.Answer()
        try:
            if ask.search is not None:
                self._studies[ask.experiment] = Study(ALGORITHMS[ask.search.algorithm].make(ask.search))
            study = self._studies[ask.experiment]
            study.ended += ask.ended
            return wire.Answer(reply=study.engine.propose([*study.ended, *ask.running], ask.count))
        except ModuleNotFoundError as error:
            return wire.Answer(missing=error.name or str(error))
        except Exception as error:  # whatever a library raises is the answer: the asker names the Experiment
            traceback.print_exc()
            return wire.Answer(error=f"{type(error).__name__}: {error}")


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, asks), daemon=True).start()
    desk = Desk()
    while True:
        answers.write(wire.frame(desk.answer(wire.read_ask(asks.get()))))
        answers.flush()


def _read(stream: BinaryIO, asks: queue.SimpleQueue[bytes]) -> None:
    """Hands asks on, in a thread of its own: the server's end is to be noticed in the middle of a computation, too."""
    while len(head := stream.read(wire.HEAD_BYTES)) == wire.HEAD_BYTES:
        length = int.from_bytes(head, "big")
        body = stream.read(length)
        if len(body) < length:
            break
        asks.put(body)
    os._exit(0)


if __name__ == "__main__":
    main()
