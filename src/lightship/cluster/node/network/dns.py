"""DNS messages: what the cluster's own names answer to a query. Pure; ``names`` serves me.

Records come from ``tables``: names are lower case, without the last dot. I answer for ``cluster.local`` and for the
addresses of Pods and Services; for anything else I answer None, and the host's resolver is asked.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DOMAIN = "cluster.local"
TTL_SECONDS = 5
LIMIT_UDP_BYTES = 1232
LIMIT_NAME_BYTES, LIMIT_LABEL_BYTES = 255, 63
LIMIT_ALIASES = 8
"""Names of ours that stand for one another, one after the other."""
_A, _CNAME, _SOA, _PTR, _AAAA, _SRV, _ANY, _OPT = 1, 5, 6, 12, 28, 33, 255, 41
_IN = 1
_NXDOMAIN, _FORMAT_ERROR, _SERVER_FAILURE = 3, 1, 2


@dataclass(frozen=True, kw_only=True)
class Zone:
    """The cluster's names. A record is ``{"a": [ip], "srv": [[port, target]], "cname": name}``, each part optional."""

    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pointers: Mapping[str, str] = field(default_factory=dict)
    _parents: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        parents = {DOMAIN, "svc." + DOMAIN, "pod." + DOMAIN}
        for name in self.records:
            labels = name.split(".")
            parents.update(".".join(labels[start:]) for start in range(1, len(labels) - 2))
        object.__setattr__(self, "_parents", frozenset(parents))

    def find(self, name: str) -> Mapping[str, Any] | None:
        """The records of a name of ours: empty for one that only has names below it, None for one that is not."""
        if name in self.records:
            return self.records[name]
        if name in self._parents:
            return {}
        return _pod_record(name)


def _pod_record(name: str) -> Mapping[str, Any] | None:
    """``10-244-0-7.namespace.pod.cluster.local`` is that address."""
    labels = name.split(".")
    if len(labels) == 5 and labels[2:] == ["pod", *DOMAIN.split(".")]:
        parts = labels[0].split("-")
        if len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts):
            return {"a": [".".join(parts)]}
    return None


@dataclass(frozen=True)
class Question:
    """The one question of a query."""

    name: str
    kind: int
    end: int
    """Where the question ends in the query."""


def parse(query: bytes) -> Question:
    """Raises ``ValueError`` for what is not a query with one question."""
    if len(query) < 17 or query[2] & 0xF8 or struct.unpack_from("!H", query, 4)[0] != 1:
        raise ValueError("not a query with one question")
    labels: list[str] = []
    position = 12
    while True:
        if position >= len(query):
            raise ValueError("the name does not end")
        length = query[position]
        position += 1
        if not length:
            break
        if length > LIMIT_LABEL_BYTES or position + length > len(query) or position - 12 + length >= LIMIT_NAME_BYTES:
            raise ValueError("the name is too long")
        labels.append(query[position:position + length].decode("latin-1").lower())
        position += length
    if position + 4 > len(query):
        raise ValueError("the question does not end")
    kind, _ = struct.unpack_from("!HH", query, position)
    return Question(".".join(labels), kind, position + 4)


def answer(query: bytes, zone: Zone, limit_bytes: int = LIMIT_UDP_BYTES) -> bytes | None:
    """The whole answer, or None where the name is not ours. Raises ``ValueError`` for what is not a query."""
    question = parse(query)
    name = question.name
    if name.endswith(".in-addr.arpa"):
        target = zone.pointers.get(".".join(reversed(name.split(".")[:-2])))
        if target is None:
            return None
        records = [_record(name, _PTR, _encode(target))] if question.kind in (_PTR, _ANY) else []
        return _message(query, question, records, limit_bytes)
    if not _is_ours(name):
        return None
    aliases, last = _follow(name, zone) if question.kind != _CNAME else ([], name)
    if not _is_ours(last):
        return None if question.kind in (_A, _AAAA) else _message(query, question, aliases, limit_bytes)
    found = zone.find(last)
    if found is None:
        return _message(query, question, aliases, limit_bytes, code=_NXDOMAIN)
    return _message(query, question, [*aliases, *_records(last, question.kind, found)], limit_bytes)


def outside(query: bytes, zone: Zone) -> str:
    """The name elsewhere that a name of ours stands for; empty where none does. ``query`` is one that ``answer``
    left to others."""
    name = parse(query).name
    if not _is_ours(name) or name.endswith(".in-addr.arpa"):
        return ""
    return _follow(name, zone)[1]


def query_for(query: bytes, name: str) -> bytes:
    """The same question of another name."""
    kind = parse(query).kind
    return query[:2] + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + _encode(name) + struct.pack("!HH", kind, _IN)


def answer_with(query: bytes, zone: Zone, found: bytes, limit_bytes: int = LIMIT_UDP_BYTES) -> bytes:
    """The answer of a name of ours that stands for one elsewhere, of which ``found`` was answered."""
    question = parse(query)
    aliases, last = _follow(question.name, zone)
    try:
        addresses = _addresses(found, question.kind)
    except (struct.error, IndexError):
        return failure(query)
    code = found[3] & 15
    if code not in (0, _NXDOMAIN):
        return failure(query, code)
    records = [*aliases, *(_record(last, question.kind, address) for address in addresses)]
    return _message(query, question, records, 0 if found[2] & 2 else limit_bytes, code)


def _is_ours(name: str) -> bool:
    return name == DOMAIN or name.endswith("." + DOMAIN)


def _follow(name: str, zone: Zone) -> tuple[list[bytes], str]:
    """The records of the aliases, and the name at their end. Raises ``ValueError`` where they go round."""
    aliases: list[bytes] = []
    while _is_ours(name) and (target := (zone.find(name) or {}).get("cname")):
        if len(aliases) >= LIMIT_ALIASES:
            raise ValueError("the names go round")
        aliases.append(_record(name, _CNAME, _encode(target)))
        name = target
    return aliases, name


def _addresses(message: bytes, kind: int) -> list[bytes]:
    """The addresses in another server's answer, under whichever name."""
    _, _, questions, answers = struct.unpack_from("!HHHH", message)
    position, found = 12, []
    for _ in range(questions):
        position = _after_name(message, position) + 4
    for _ in range(answers):
        position = _after_name(message, position)
        told, _, _, size = struct.unpack_from("!HHIH", message, position)
        position += 10
        if told == kind and size == (4 if kind == _A else 16) and position + size <= len(message):
            found.append(message[position:position + size])
        position += size
    return found


def _after_name(message: bytes, position: int) -> int:
    while message[position]:
        if message[position] >= 0xC0:
            return position + 2
        position += message[position] + 1
    return position + 1


def is_name(name: str) -> bool:
    """Whether a message can hold it."""
    return len(name) + 2 <= LIMIT_NAME_BYTES and name.isascii() and all(
        0 < len(label) <= LIMIT_LABEL_BYTES for label in name.split("."))


def failure(query: bytes, code: int = _SERVER_FAILURE) -> bytes:
    """An answer that says that there is none."""
    try:
        end = parse(query).end
    except ValueError:
        return query[:2].ljust(2, b"\0") + struct.pack("!HHHHH", 0x8180 | _FORMAT_ERROR, 0, 0, 0, 0)
    return query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 0, 0, 0) + query[12:end]


def _records(name: str, kind: int, found: Mapping[str, Any]) -> list[bytes]:
    if found.get("cname"):
        return [_record(name, _CNAME, _encode(found["cname"]))]
    records = []
    if kind in (_A, _ANY):
        records += [_record(name, _A, socket.inet_aton(ip)) for ip in found.get("a") or ()]
    if kind in (_SRV, _ANY):
        records += [_record(name, _SRV, struct.pack("!HHH", 0, 100, port) + _encode(target))
                    for port, target in found.get("srv") or ()]
    return records


def _encode(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _encode(name) + struct.pack("!HHIH", kind, _IN, TTL_SECONDS, len(data)) + data


def _message(query: bytes, question: Question, records: list[bytes], limit_bytes: int, code: int = 0) -> bytes:
    authority = b""
    if not records:
        numbers = struct.pack("!IIIII", 1, 7200, 1800, 86400, TTL_SECONDS)
        authority = _record(DOMAIN, _SOA, _encode("ns.dns." + DOMAIN) + _encode("hostmaster." + DOMAIN) + numbers)
    flags = 0x8580 | code  # an authoritative answer; recursion is there
    size = 12 + question.end - 12 + sum(map(len, records)) + len(authority)
    if size > limit_bytes:
        flags |= 0x0200
        records = []
    counts = struct.pack("!HHHHH", flags, 1, len(records), 1 if authority else 0, 0)
    return query[:2] + counts + query[12:question.end] + b"".join(records) + authority
