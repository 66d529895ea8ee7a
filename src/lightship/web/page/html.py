"""HTML that cannot be forgotten to be escaped: text becomes markup only by ``tag``, which escapes what is not markup.

The page's modules call me. Pure.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"meta", "link", "br", "input"})
_SAFE_LINKS = ("/", "http://", "https://")


class Markup(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


Child = str | Markup | None | Iterable["Child"]


def tag(name: str, /, *children: Child, **attributes: str | None) -> Markup:
    """An element. Attribute names lose a trailing underscore and take hyphens for others; None leaves one out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{''.join(_rendered(children))}</{name}>")


def link(target: str, *children: Child) -> Markup:
    """A link, or just its text where the target is not of a kind that is safe to follow."""
    if not target.startswith(_SAFE_LINKS) or target.startswith("//"):
        return tag("span", *children)
    return tag("a", *children, href=target)


def document(title: str, *body: Child) -> Markup:
    """A whole page with our style and script."""
    head = tag("head", tag("meta", charset="utf-8"),
               tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("meta", name="color-scheme", content="light dark"),
               tag("title", title), tag("link", rel="icon", href="data:,"),
               tag("link", rel="stylesheet", href="/static/page.css"),
               tag("script", src="/static/page.js", defer=""))
    return Markup("<!doctype html>" + tag("html", head, tag("body", *body), lang="en"))


def _rendered(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield html.escape(child)
        elif child is not None:
            yield from _rendered(child)
