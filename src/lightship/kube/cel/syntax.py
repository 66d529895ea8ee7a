"""CEL's grammar: an expression's text as a tree of ``Node``. Pure; ``compile`` calls me."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightship.kube.cel.errors import CompileError

LIMIT_SOURCE_CHARACTERS = 64 * 1024
LIMIT_DEPTH = 100

RESERVED = frozenset({"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
                      "package", "namespace", "return", "var", "void", "while"})


@dataclass(frozen=True, slots=True)
class Node:
    """One piece of an expression: ``kind`` tells what ``value`` and ``parts`` are.

    literal (value), name (value), select (value of parts[0]; ``optional``), index (parts; ``optional``), call (value,
    parts; the receiver first where ``method``), list (parts), map (parts: key, value, ...). Operators are calls of
    ``_+_`` and the like.
    """

    kind: str
    position: int
    value: Any = None
    parts: tuple[Node, ...] = ()
    method: bool = False
    optional: bool = False
    optionals: frozenset[int] = frozenset()
    """Of a list or map: which entries were written with ``?``."""


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


_STRING = r"""[bB]?(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
_RAW = r"""[bB]?[rR][bB]?(?:\"\"\".*?\"\"\"|'''.*?'''|"[^"\n]*"|'[^'\n]*')"""
_TOKENS = re.compile(
    rf"(?P<space>\s+|//[^\n]*)|(?P<raw>{_RAW})|(?P<string>{_STRING})"
    r"|(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<uint>0x[0-9a-fA-F]+[uU]|\d+[uU])|(?P<int>0x[0-9a-fA-F]+|\d+)"
    r"|(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)|(?P<quoted>`[a-zA-Z0-9_.\-/ ]+`)"
    r"|(?P<operator>\.\?|\[\?|&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])", re.DOTALL)

_LEVELS: tuple[tuple[str, ...], ...] = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"),
                                        ("*", "/", "%"))
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'",
            '"': '"', "`": "`", "?": "?"}
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\'\"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})"
                     r"|(.))", re.DOTALL)


def parse(source: str) -> Node:
    """Raises ``CompileError``."""
    if len(source) > LIMIT_SOURCE_CHARACTERS:
        raise CompileError(f"expression is longer than {LIMIT_SOURCE_CHARACTERS} characters")
    parser = _Parser(source)
    try:
        node = parser.expression()
        parser.expect("end", "")
    except RecursionError as e:
        raise CompileError("expression is nested too deeply", 0, source) from e
    return node


def _tokens(source: str) -> list[_Token]:
    found, position = [], 0
    while position < len(source):
        match = _TOKENS.match(source, position)
        if match is None:
            raise CompileError(f"Syntax error: token recognition error at: {source[position]!r}", position, source)
        if match.lastgroup != "space":
            found.append(_Token(str(match.lastgroup), match[0], position))
        position = match.end()
    return [*found, _Token("end", "", len(source))]


class _Parser:
    """Recursive descent, an operator's level at a time."""

    def __init__(self, source: str) -> None:
        self._source, self._tokens, self._at, self._depth = source, _tokens(source), 0, 0

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> _Token | None:
        token = self._tokens[self._at]
        if token.text in texts and (token.kind == "operator" or token.text == "in"):
            self._at += 1
            return token
        return None

    def expect(self, kind: str, text: str) -> _Token:
        token = self._peek()
        if token.kind != kind or (text and token.text != text):
            raise self._error(token, f"Syntax error: mismatched input {token.text or '<EOF>'!r} expecting "
                                     f"{text or kind!r}")
        self._at += 1
        return token

    def _error(self, token: _Token, message: str) -> CompileError:
        return CompileError(message, token.position, self._source)

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > LIMIT_DEPTH:
            raise self._error(self._peek(), "expression is nested too deeply")
        condition = self._binary(0)
        question = self._take("?")
        if question is not None:
            then = self._binary(0)
            self.expect("operator", ":")
            condition = Node("call", question.position, "_?_:_", (condition, then, self.expression()))
        self._depth -= 1
        return condition

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while (token := self._take(*_LEVELS[level])) is not None:
            name = "@in" if token.text == "in" else f"_{token.text}_"
            left = Node("call", token.position, name, (left, self._binary(level + 1)))
        return left

    def _unary(self) -> Node:
        token = self._take("!", "-")
        if token is None:
            return self._member()
        after = self._peek()
        if token.text == "-" and after.kind in ("int", "float"):
            self._at += 1
            number = -int(after.text, 0) if after.kind == "int" else -float(after.text)
            return self._followed(Node("literal", token.position, number))
        self._depth += 1
        if self._depth > LIMIT_DEPTH:
            raise self._error(token, "expression is nested too deeply")
        inner = self._unary()
        self._depth -= 1
        return Node("call", token.position, "!_" if token.text == "!" else "-_", (inner,))

    def _member(self) -> Node:
        return self._followed(self._primary())

    def _followed(self, node: Node) -> Node:
        while (token := self._take(".", ".?", "[", "[?")) is not None:
            optional = token.text.endswith("?")
            if token.text[0] == "[":
                key = self.expression()
                self.expect("operator", "]")
                node = Node("index", token.position, parts=(node, key), optional=optional)
                continue
            name = self._peek()
            if name.kind not in ("name", "quoted") or (name.text in ("in", "true", "false", "null")):
                raise self._error(name, f"Syntax error: no viable alternative at input {name.text!r}")
            self._at += 1
            if not optional and name.kind == "name" and self._take("("):
                node = Node("call", name.position - 1, name.text, (node, *self._arguments(")")), method=True)
            else:
                node = Node("select", token.position, name.text.strip("`"), (node,), optional=optional)
        return node

    def _arguments(self, end: str) -> list[Node]:
        found: list[Node] = []
        while self._take(end) is None:
            if found:
                self.expect("operator", ",")
            found.append(self.expression())
        return found

    def _primary(self) -> Node:
        token = self._peek()
        self._at += 1
        if token.kind == "operator":
            if token.text == "(":
                inner = self.expression()
                self.expect("operator", ")")
                return inner
            if token.text in ("[", "[?"):
                return self._list(token)
            if token.text == "{":
                return self._map(token)
            if token.text == "." and self._peek().kind == "name":
                return self._primary()
        elif token.kind == "name":
            return self._named(token)
        elif token.kind in ("string", "raw"):
            return Node("literal", token.position, self._text(token))
        elif token.kind in ("int", "uint", "float"):
            return Node("literal", token.position, _number(token))
        raise self._error(token, f"Syntax error: mismatched input {token.text or '<EOF>'!r} expecting an expression")

    def _named(self, token: _Token) -> Node:
        if token.text in ("true", "false", "null"):
            return Node("literal", token.position, {"true": True, "false": False, "null": None}[token.text])
        if token.text in RESERVED or token.text == "in":
            raise self._error(token, f"Syntax error: reserved identifier: {token.text}")
        if self._take("("):
            return Node("call", token.position, token.text, tuple(self._arguments(")")))
        return Node("name", token.position, token.text)

    def _list(self, start: _Token) -> Node:
        items: list[Node] = []
        marked = set()
        if start.text == "[?":
            marked.add(0)
            items.append(self.expression())
        while self._take("]") is None:
            if items:
                self.expect("operator", ",")
                if self._take("]"):
                    break
            if self._take("?"):
                marked.add(len(items))
            items.append(self.expression())
        return Node("list", start.position, parts=tuple(items), optionals=frozenset(marked))

    def _map(self, start: _Token) -> Node:
        parts: list[Node] = []
        marked = set()
        while self._take("}") is None:
            if parts:
                self.expect("operator", ",")
                if self._take("}"):
                    break
            if self._take("?"):
                marked.add(len(parts))
            parts.append(self.expression())
            self.expect("operator", ":")
            parts.append(self.expression())
        return Node("map", start.position, parts=tuple(parts), optionals=frozenset(marked))

    def _text(self, token: _Token) -> str | bytes:
        text = token.text
        quote = min(at for at in (text.find("'"), text.find('"')) if at >= 0)
        prefix, body = text[:quote].lower(), text[quote:]
        width = 3 if body[:3] in ("'''", '"""') else 1
        body = body[width:-width]
        if "r" not in prefix:
            body = _ESCAPE.sub(lambda match: self._escape(match, token), body)
        return body.encode() if "b" in prefix else body

    def _escape(self, match: re.Match[str], token: _Token) -> str:
        simple, byte, short, long, octal, wrong = match.groups()
        if wrong is not None:
            raise self._error(token, f"Syntax error: unable to unescape string \\{wrong}")
        if simple is not None:
            return _ESCAPES[simple]
        code = int(octal, 8) if octal else int(byte or short or long, 16)
        if code > 0x10FFFF:
            raise self._error(token, "Syntax error: unable to unescape string")
        return chr(code)


class Uint(int):
    """An unsigned integer."""


def _number(token: _Token) -> int | float:
    if token.kind == "float":
        return float(token.text)
    if token.kind == "uint":
        return Uint(int(token.text[:-1], 0))
    return int(token.text, 0)
