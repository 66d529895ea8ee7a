"""OpenAI's answers: whole ones and the chunks of a stream. Pure; ``endpoints`` calls me."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from lightship.modelserver.language import Embeddings, Scores, TokenLogprob
from lightship.modelserver.openai.requests import EmbeddingRequest, RerankRequest

DONE = b"data: [DONE]\n\n"
_TYPES = {400: "invalid_request_error", 404: "not_found_error", 405: "invalid_request_error",
          413: "invalid_request_error", 501: "not_implemented_error", 503: "service_unavailable_error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What one choice has more."""

    index: int
    text: str = ""
    finish: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    first: bool = False
    generated: bool = True
    """Whether the model made it: a role or a repeated prompt is there before the model has said anything."""


@dataclass(slots=True)
class Usage:
    """How many tokens were read and made."""

    prompt: int = 0
    completion: int = 0

    def shape(self) -> dict[str, int]:
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion,
                "total_tokens": self.prompt + self.completion}


@dataclass(slots=True)
class Choice:
    """One choice as it grows."""

    text: str = ""
    finish: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    tool_calls: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.finish = delta.finish or self.finish
        self.logprobs += delta.logprobs
        self.tool_calls += delta.tool_calls


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What all of one request's answers begin with."""

    id: str
    created: int
    model: str
    chat: bool
    usage_at_end: bool = False

    def whole(self, choices: Sequence[Choice], usage: Usage) -> bytes:
        """The answer that is not streamed."""
        shape = _chat_choice if self.chat else _text_choice
        return _encode(self._head("chat.completion" if self.chat else "text_completion") | {
            "choices": [shape(index, choice) for index, choice in enumerate(choices)], "usage": usage.shape()})

    def chunk(self, delta: Delta) -> bytes:
        """One event of the stream."""
        shape = _chat_delta if self.chat else _text_delta
        return self._event({"choices": [shape(delta)]} | ({"usage": None} if self.usage_at_end else {}))

    def last(self, usage: Usage) -> bytes:
        """The stream's end."""
        return (self._event({"choices": [], "usage": usage.shape()}) if self.usage_at_end else b"") + DONE

    def _event(self, rest: dict[str, Any]) -> bytes:
        head = self._head("chat.completion.chunk" if self.chat else "text_completion")
        return b"data: " + _encode(head | rest) + b"\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def error(status: int, message: str) -> bytes:
    """OpenAI's shape of a failure."""
    kind = _TYPES.get(status, "internal_server_error")
    return _encode({"error": {"message": message, "type": kind, "param": None, "code": str(status)}})


def error_event(status: int, message: str) -> bytes:
    """A failure in the middle of a stream."""
    return b"data: " + error(status, message) + b"\n\n" + DONE


def models(names: Sequence[str], created: int) -> bytes:
    return _encode({"object": "list", "data": [_model(name, created) for name in names]})


def model(name: str, created: int) -> bytes:
    return _encode(_model(name, created))


def embeddings(asked: EmbeddingRequest, made: Embeddings) -> bytes:
    vectors = [np.asarray(vector, dtype="<f4") for vector in made.vectors]
    shown = [base64.b64encode(vector.tobytes()).decode() if asked.base64 else vector.tolist() for vector in vectors]
    return _encode({"object": "list", "model": asked.model,
                    "data": [{"object": "embedding", "index": index, "embedding": one}
                             for index, one in enumerate(shown)],
                    "usage": {"prompt_tokens": made.tokens, "total_tokens": made.tokens}})


def rerank(id: str, asked: RerankRequest, made: Scores) -> bytes:
    order = sorted(range(len(asked.documents)), key=lambda index: -float(made.scores[index]))[:asked.top]
    return _encode({"id": id, "model": asked.model, "usage": {"total_tokens": made.tokens},
                    "results": [{"index": index, "document": {"text": asked.documents[index]},
                                 "relevance_score": float(made.scores[index])} for index in order]})


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": ""}


def _text_choice(index: int, choice: Choice) -> dict[str, Any]:
    return {"index": index, "text": choice.text, "logprobs": _text_logprobs(choice.logprobs),
            "finish_reason": choice.finish or None}


def _text_delta(delta: Delta) -> dict[str, Any]:
    return {"index": delta.index, "text": delta.text, "logprobs": _text_logprobs(delta.logprobs),
            "finish_reason": delta.finish or None}


def _chat_choice(index: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text}
    if choice.tool_calls:
        message |= {"content": choice.text or None, "tool_calls": choice.tool_calls}
    return {"index": index, "message": message, "logprobs": _chat_logprobs(choice.logprobs),
            "finish_reason": choice.finish or None}


def _chat_delta(delta: Delta) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": "assistant"} if delta.first else {}
    if delta.text or delta.first:
        shown["content"] = delta.text
    if delta.tool_calls:
        shown["tool_calls"] = delta.tool_calls
    return {"index": delta.index, "delta": shown, "logprobs": _chat_logprobs(delta.logprobs),
            "finish_reason": delta.finish or None}


def _text_logprobs(found: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not found:
        return None
    return {"tokens": [one.token for one in found], "token_logprobs": [one.logprob for one in found],
            "top_logprobs": [dict(one.top) for one in found], "text_offset": []}


def _chat_logprobs(found: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not found:
        return None
    return {"content": [
        _logprob(one.token, one.logprob) | {"top_logprobs": [_logprob(*top) for top in one.top]} for one in found]}


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


_encode = msgspec.json.Encoder().encode
