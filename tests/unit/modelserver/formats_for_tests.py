"""A format whose models the tests control: ``--kind`` picks one. ``conftest`` registers it as ``tests``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np

from lightship import errors
from lightship.modelserver import formats, language
from lightship.modelserver.errors import InvalidTensor


class Speaker:
    """Says the words of its prompt again, one piece a word; knows when it was stopped."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = 0
        self.requests: list[language.GenerateRequest] = []

    async def generate(self, request: language.GenerateRequest) -> AsyncIterator[language.Piece]:
        self.requests.append(request)
        text = str(request.prompt if request.messages is None else request.messages[-1]["content"])
        words = text.split()
        if words[:1] == ["refuse"]:
            raise InvalidTensor("the prompt is refused")
        limit = request.max_tokens or 1_000_000
        try:
            for number, word in enumerate(words if words[:1] != ["forever"] else _endless()):
                await asyncio.sleep(0)
                if word == "raise":
                    raise ArithmeticError("the model broke")
                self.made += 1
                last = number + 1 == min(limit, len(words)) and words[:1] != ["forever"]
                logprobs = (language.TokenLogprob(token=word, logprob=-0.5, top=((word, -0.5), ("x", -1.5))),)
                yield language.Piece(
                    text=word + ("" if last else " "), tokens=1, prompt_tokens=0 if number else len(words),
                    finish="" if not last else "stop" if number + 1 == len(words) else "length",
                    logprobs=logprobs if request.logprobs is not None else ())
                if last:
                    return
        finally:
            self.closed += 1

    def embed(self, texts: Sequence[str | tuple[int, ...]]) -> language.Embeddings:
        return language.Embeddings(vectors=[[float(len(text)), 0.5] for text in texts], tokens=7)

    def rerank(self, query: str, documents: Sequence[str]) -> language.Scores:
        return language.Scores(scores=[float(text.count(query)) for text in documents], tokens=3)


def _endless() -> Any:
    while True:
        yield "word" * 1000


class Wholly:
    """Answers with what it was asked."""

    platform = "own"
    inputs = ()
    outputs = ()

    def __init__(self) -> None:
        self.waiting, self.cancelled = asyncio.Event(), asyncio.Event()

    async def answer(self, request: formats.WholeRequest) -> formats.WholeAnswer:
        if request.headers.get("x-wait"):
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        if request.headers.get("x-fail"):
            raise errors.Unavailable("not just now") if request.headers["x-fail"] == "503" else ValueError("broken")
        if request.headers.get("x-stream"):
            pieces = _pieces(request.headers["x-stream"])
            return formats.WholeAnswer(body=pieces, headers={"content-type": "text/plain"})
        if isinstance(request.body, bytes):
            return formats.WholeAnswer(body=request.body[::-1], headers={"content-type": "image/png"})
        if request.protocol == "v1":
            return formats.WholeAnswer(body={"verb": request.verb, "got": request.body},
                                       headers={"x-own": request.headers.get("x-ask", ""), "content-length": "1"})
        return formats.WholeAnswer(
            tensors=tuple(formats.WholeTensor(name=f"{one.name}-out", datatype=one.datatype, shape=one.shape,
                                              array=one.array, parameters={"seen": True}) for one in request.tensors),
            parameters=dict(request.parameters) | {"protocol": request.protocol})


async def _pieces(text: str) -> AsyncIterator[str]:
    for word in text.split():
        if word == "raise":
            raise ArithmeticError("broke")
        yield word


class Sums:
    """Two inputs in, two outputs out, row by row; explains by the inputs themselves. Never asked for over 4 rows."""

    platform = "sums"
    inputs = (formats.TensorSpec(name="a", datatype="FP32", shape=(-1, 2)),
              formats.TensorSpec(name="b", datatype="FP32", shape=(-1, 2)))
    outputs = (formats.TensorSpec(name="sum", datatype="FP32", shape=(-1, 2)),
               formats.TensorSpec(name="label", datatype="BYTES", shape=(-1,)))
    max_batch_rows = 4

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.closed = False

    def prepare_instances(self, instances: list[Any]) -> formats.Prepared:
        return self.prepare_tensors({name: np.array([one[name] for one in instances], np.float32) for name in "ab"})

    def prepare_tensors(self, tensors: dict[str, Any]) -> formats.Prepared:
        if sorted(tensors) != ["a", "b"]:
            raise InvalidTensor("the inputs are a and b")
        return formats.Prepared(inputs=tensors, rows=len(tensors["a"]), key="sums")

    def predict(self, inputs: Any) -> Any:
        self.rows.append(len(inputs["a"]))
        total = inputs["a"] + inputs["b"]
        return {"sum": total, "label": np.array([f"{row.sum():g}" for row in total], dtype=object)}

    def explain(self, inputs: Any) -> Any:
        return {"explanations": {"a": inputs["a"], "b": inputs["b"]}}

    def blames_input(self, problem: Exception) -> bool:
        return isinstance(problem, ValueError)

    def close(self) -> None:
        self.closed = True


MADE: list[Any] = []
_KINDS = {"speaker": Speaker, "whole": Wholly, "sums": Sums}


def load(options: formats.LoadOptions) -> Any:
    MADE.append(_KINDS[options.flags["kind"]]())
    return MADE[-1]
