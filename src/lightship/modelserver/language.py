"""What the OpenAI endpoints ask of a model that speaks: the seam between ``openai`` and the formats. Types only.

A format has any of ``generate``, ``embed`` and ``rerank``; an endpoint without its method answers 501. The server reads
and checks the request, makes the answer's shape, streams it, ends at stop strings and counts tokens; the format turns
messages into a prompt, knows its tokenizer, and computes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One choice to generate. Exactly one of ``prompt`` and ``messages`` is there; None leaves a value to the model."""

    prompt: str | tuple[int, ...] | None = None
    """Text, or tokens."""
    messages: tuple[Mapping[str, Any], ...] | None = None
    """A chat, in the API's own shape."""
    tools: tuple[Mapping[str, Any], ...] = ()
    template: Mapping[str, Any] = field(default_factory=dict)
    """``chat_template_kwargs``."""
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """The server ends at these as well; a model may end sooner by itself."""
    logprobs: int | None = None
    """How many alternatives to tell for each token; 0: the token's own only; None: none."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the body held, such as ``top_k`` or ``repetition_penalty``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """One generated token's probability and its ``top`` alternatives (token, logprob)."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of what is generated. The last piece has ``finish``: ``stop``, ``length`` or ``tool_calls``."""

    text: str = ""
    tokens: int = 0
    """How many tokens were generated for this piece."""
    prompt_tokens: int = 0
    """How many the prompt has; told in one piece, the first."""
    finish: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vector a text."""

    vectors: Sequence[Sequence[float]]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One relevance a document, in the documents' order."""

    scores: Sequence[float]
    tokens: int


@runtime_checkable
class Generating(Protocol):
    """A model that generates text."""

    def generate(self, request: GenerateRequest) -> AsyncIterator[Piece]:
        """Called on the server's loop, which it must not block: compute in a thread of the model's own. The iterator is
        asked for a piece only when the client can take one, and is closed (``aclose``) when the client leaves: stop
        computing then. Raises ``InvalidTensor`` before the first piece where the request is at fault."""
        ...


@runtime_checkable
class Embedding(Protocol):
    """A model that makes vectors of texts."""

    def embed(self, texts: Sequence[str | tuple[int, ...]]) -> Embeddings:
        """Called on the model's thread."""
        ...


@runtime_checkable
class Reranking(Protocol):
    """A model that says how well documents fit a query."""

    def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Called on the model's thread."""
        ...
