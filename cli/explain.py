"""`amodalpl explain`: what a printed score means, out of the page that defines them all."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated

import typer

from amodalpl.errors import SettingsError, nearest

_PROTOCOL = re.compile(r"^\*\*`([^*`]+)`\*\*")
_NAMED = re.compile(r"`([A-Za-z][\w^.]*)`")
_SYMBOLS = re.compile(r"P is a predicted[^.]*\.")
_WIDTH = 100


@dataclass(frozen=True)
class Passage:
    """One paragraph, item or table of the page.

    Attributes:
        section: heading it stands under.
        protocols: names of the protocols that the paragraph above it, or it, defines; empty for general words.
        text: in markdown.
    """

    section: str
    protocols: tuple[str, ...]
    text: str

    @property
    def names(self) -> set[str]:
        """Metrics that are named in it."""
        return set(_NAMED.findall(self.text))


def explain(
    name: Annotated[str | None, typer.Argument(metavar="[METRIC]", help="A score's or a protocol's name.")] = None,
) -> None:
    """Say what a score means and where its definition comes from; without a name, list them all.

    Example: [bold]amodalpl explain invisible_miou[/bold]
    """
    passages = list(read_passages((files("amodalpl_docs") / "protocols.md").read_text(encoding="utf-8")))
    typer.echo(_explanation(passages, name) if name and name.strip() else _overview(passages))


def read_passages(page: str) -> Iterator[Passage]:
    """Cut the page into passages, each with the section and the protocols that it belongs to."""
    section, protocols = "", ()
    for block in re.split(r"\n\s*\n|\n(?=- )", page):
        block = block.strip("\n")
        if block.startswith("#"):
            section, protocols = block.lstrip("# "), ()
            continue
        if _PROTOCOL.match(block):
            protocols = tuple(re.findall(r"\*\*`([^*`]+)`\*\*", block))
        yield Passage(section, protocols, block)


def _overview(passages: list[Passage]) -> str:
    lines: list[str] = []
    named: dict[str, dict[str, None]] = {}
    for passage in passages:
        for protocol in passage.protocols:
            metrics = named.setdefault(protocol, {})
            metrics.update(dict.fromkeys(n for n in _NAMED.findall(passage.text) if n == n.lower() or n[:2] == "AP"))
    for protocol, metrics in named.items():
        lines.append(protocol)
        if metrics:
            lines.append(textwrap.fill(", ".join(metrics), _WIDTH, initial_indent="  ", subsequent_indent="  "))
    return "\n".join([*lines, "", "amodalpl explain NAME says what one of them means."])


def _explanation(passages: list[Passage], name: str) -> str:
    wanted = name.strip().lower().replace(" ", "_").replace("-", "_")
    hits = [p for p in passages if wanted in {n.lower() for n in p.names}]
    if not hits:
        hits = [p for p in passages if any(name.lower() in protocol.lower() for protocol in p.protocols)]
    if not hits:
        known = {n for p in passages for n in p.names} | {protocol for p in passages for protocol in p.protocols}
        raise SettingsError(f"no score of that name: {name!r}{nearest(name, known)}")
    lines: list[str] = []
    before: tuple[str, ...] | None = None
    for passage in hits:
        if passage.protocols != before:
            lines += ["", *(passage.protocols or (passage.section,))]
            before = passage.protocols
        lines += _plain(passage.text)
    if any(" P " in passage.text or "|P" in passage.text for passage in hits):
        lines += ["", *(line for p in passages for line in _plain(" ".join(_SYMBOLS.findall(p.text))))]
    return "\n".join(lines).strip("\n")


def _plain(text: str) -> list[str]:
    """Write markdown as text: tables as they are, paragraphs filled."""
    text = text.replace("**`", "").replace("`**", "").replace("`", "").replace("*", "")
    if text.startswith("|"):
        return ["  " + line for line in text.splitlines()]
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent="  ", subsequent_indent="  ")
