"""OpenAI's requests, read and checked. Pure; ``endpoints`` calls me.

Fields that I do not name go to the model in ``GenerateRequest.extra``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from lightship.modelserver.errors import InvalidTensor
from lightship.modelserver.language import GenerateRequest

Tokens = Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1)]
Texts = str | list[str] | Tokens | list[Tokens]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Sampling(msgspec.Struct, kw_only=True):
    """What both kinds of completions share."""

    model: str
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    user: str | None = None


class _Completion(_Sampling, kw_only=True):
    prompt: Any
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None


class _Message(msgspec.Struct):
    role: str


class _Chat(_Sampling, kw_only=True):
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class _Embedding(msgspec.Struct, kw_only=True):
    model: str
    input: Any
    encoding_format: str | None = None
    dimensions: int | None = None


class _Rerank(msgspec.Struct, kw_only=True):
    model: str
    query: str
    documents: Annotated[list[Any], Meta(min_length=1)]
    top_n: Annotated[int, Meta(ge=1)] | None = None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A request for completions, of either kind: one ``GenerateRequest`` for each choice."""

    model: str
    chat: bool
    choices: Sequence[GenerateRequest]
    stream: bool
    usage_at_end: bool
    echo: Sequence[str] = ()
    """The prompts, where they are to be repeated before what is generated; one for each choice."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingRequest:
    model: str
    texts: Sequence[str | tuple[int, ...]]
    base64: bool


@dataclass(frozen=True, kw_only=True)
class RerankRequest:
    model: str
    query: str
    documents: Sequence[str]
    top: int


def completion(body: bytes, limit_choices: int) -> Generation:
    """Raises ``InvalidTensor``."""
    asked, extra = _read(body, _Completion)
    if asked.suffix:
        raise InvalidTensor('"suffix" is not supported')
    if asked.best_of is not None and asked.best_of > (asked.n or 1):
        raise InvalidTensor('"best_of" is not supported', remedy='Ask for as many with "n"')
    prompts = texts(asked.prompt, "prompt")
    _bounded(len(prompts) * (asked.n or 1), limit_choices)
    if asked.echo and not all(isinstance(prompt, str) for prompt in prompts):
        raise InvalidTensor('"echo" wants prompts that are text')
    choices = [GenerateRequest(prompt=prompt, logprobs=asked.logprobs, **_sampling(asked, number, extra))
               for prompt in prompts for number in range(asked.n or 1)]
    echo = [str(prompt) for prompt in prompts for _ in range(asked.n or 1)] if asked.echo else []
    return Generation(model=asked.model, chat=False, choices=choices, echo=echo, **_streaming(asked))


def chat(body: bytes, limit_choices: int) -> Generation:
    """Raises ``InvalidTensor``."""
    asked, extra = _read(body, _Chat)
    _bounded(asked.n or 1, limit_choices)
    for message in asked.messages:
        _convert(message, _Message)
    logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
    sampling = [_sampling(asked, number, extra) for number in range(asked.n or 1)]
    if asked.max_completion_tokens is not None:
        sampling = [one | {"max_tokens": asked.max_completion_tokens} for one in sampling]
    choices = [GenerateRequest(messages=tuple(asked.messages), tools=tuple(asked.tools or ()), logprobs=logprobs,
                               template=asked.chat_template_kwargs or {}, **one) for one in sampling]
    return Generation(model=asked.model, chat=True, choices=choices, **_streaming(asked))


def embedding(body: bytes, limit_texts: int) -> EmbeddingRequest:
    """Raises ``InvalidTensor``."""
    asked, _ = _read(body, _Embedding)
    if asked.encoding_format not in (None, "float", "base64"):
        raise InvalidTensor('"encoding_format" is float or base64')
    if asked.dimensions is not None:
        raise InvalidTensor('"dimensions" is not supported: the model\'s own are answered')
    found = texts(asked.input, "input")
    _bounded(len(found), limit_texts)
    return EmbeddingRequest(model=asked.model, texts=found, base64=asked.encoding_format == "base64")


def rerank(body: bytes, limit_texts: int) -> RerankRequest:
    """Raises ``InvalidTensor``."""
    asked, _ = _read(body, _Rerank)
    _bounded(len(asked.documents), limit_texts)
    documents = [one.get("text") if isinstance(one, dict) else one for one in asked.documents]
    if not all(isinstance(one, str) for one in documents):
        raise InvalidTensor('"documents" wants texts, or objects with a "text"')
    return RerankRequest(model=asked.model, query=asked.query, documents=[str(one) for one in documents],
                         top=min(asked.top_n or len(documents), len(documents)))


def texts(given: Any, field: str) -> list[str | tuple[int, ...]]:
    """One text, several, one text's tokens, or several texts' tokens. Raises ``InvalidTensor``."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given:
        if all(isinstance(one, str) for one in given):
            return list(given)
        if _tokens(given):
            return [tuple(given)]
        if all(_tokens(one) for one in given):
            return [tuple(one) for one in given]
    raise InvalidTensor(f'"{field}" wants a text, texts, or tokens')


def _tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(one) is int and one >= 0 for one in given)


def _sampling(asked: _Sampling, number: int, extra: dict[str, Any]) -> dict[str, Any]:
    stop = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    if len(stop) > 16:
        raise InvalidTensor('"stop" has more than 16 entries')
    # Choices of one seed would all be the same.
    seed = None if asked.seed is None else asked.seed + number
    return {"max_tokens": asked.max_tokens, "temperature": asked.temperature, "top_p": asked.top_p, "seed": seed,
            "presence_penalty": asked.presence_penalty, "frequency_penalty": asked.frequency_penalty,
            "stop": tuple(one for one in stop if one), "extra": extra}


def _streaming(asked: _Sampling) -> dict[str, Any]:
    options = asked.stream_options
    return {"stream": bool(asked.stream), "usage_at_end": bool(options is not None and options.include_usage)}


def _read(body: bytes, kind: type[_Struct]) -> tuple[_Struct, dict[str, Any]]:
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.ValidationError as problem:
        raise InvalidTensor(f"the request's body is no JSON object: {problem}") from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidTensor(f"the request's body is not JSON: {problem}") from problem
    asked = _convert(given, kind)
    known = set(kind.__struct_fields__)
    return asked, {name: value for name, value in given.items() if name not in known}


def _convert(given: Any, kind: type[_Struct]) -> _Struct:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as problem:
        raise InvalidTensor(f"the request is not valid: {problem}") from problem


def _bounded(count: int, limit: int) -> None:
    if count > limit:
        raise InvalidTensor(f"the request asks for {count} at once; the limit is {limit}")


class Stops:
    """Ends a text at the first of some strings, though they come in pieces.

    What may be a stop string's beginning is held back until it is known.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.ended = False

    def feed(self, text: str) -> str:
        """What of the text so far is safe to send on."""
        if not self._stops:
            return text
        self._held += text
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.ended = True
            text, self._held = self._held[:min(found)], ""
            return text
        keep = max(self._beginnings(), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def rest(self) -> str:
        """What was held back, once no more comes."""
        text, self._held = self._held, ""
        return text

    def _beginnings(self) -> Iterator[int]:
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(self._held)), 0, -1):
                if self._held.endswith(stop[:size]):
                    yield size
                    break
