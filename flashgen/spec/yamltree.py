"""Strict YAML as a tree with places: text in, nodes with line and column out, plus every problem found.

YAML is a large language. The part read here is small: one document of mappings, lists and scalars.
Aliases, tags, merge keys, directives and what ``plain.py`` finds ambiguous are refused with what to
write instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from .plain import plain
from .yamlerrors import explained

MOST_BYTES = 64 * 1024
MOST_LEVELS = 8


@dataclass(frozen=True)
class Spot:
    """A character of the text: 1-based line and column, 0-based index."""

    line: int
    column: int
    index: int


@dataclass(frozen=True)
class Scalar:
    """Text, a number, true, false or null. ``end`` is the index after its last character."""

    value: Any
    spot: Spot
    end: int


@dataclass(frozen=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    spot: Spot


@dataclass(frozen=True)
class Mapping:
    """Keys with their values, in order; each key once."""

    items: tuple[tuple[Scalar, Node], ...]
    spot: Spot


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass
class Tree:
    """What a text holds: ``root`` is None where it cannot be read at all.

    ``doubtful`` are the places of words that only some readers take for true or false; they are problems.
    """

    root: Node | None = None
    problems: list[tuple[Spot, str]] = field(default_factory=list)
    doubtful: set[Spot] = field(default_factory=set)


def spot_at(text: str, index: int) -> Spot:
    """The place of the character at ``index``."""
    before = text[:index]
    return Spot(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1, index)


def read(text: str) -> Tree:
    """The tree of ``text``. Never raises."""
    return _Reader(text).tree


class _Reader:
    """Builds a ``Tree`` from ruamel.yaml's events, which carry places and decide nothing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = Tree()
        if len(text.encode("utf-8", "replace")) > MOST_BYTES:
            self.problem(spot_at(text, 0), f"a spec has at most {MOST_BYTES // 1024} KiB")
            return
        try:
            self.events = iter(YAML(typ="safe", pure=True).parse(text))
            self.document()
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            spot = self.spot(mark) if mark else spot_at(text, 0)
            self.tree.root = None
            self.problem(spot, explained(error.context or "", error.problem or ""))
        except YAMLError as error:
            self.tree.root = None
            index = getattr(error, "position", 0)
            character = getattr(error, "character", None)
            said = f"the character U+{ord(character):04X}" if isinstance(character, str) else "a character"
            self.problem(spot_at(text, index), f"not YAML: {said} is not allowed")
        except _Stop:
            self.tree.root = None
        except Exception:  # the YAML library trips over some malformed texts with errors of its own
            self.tree.root = None
            self.problem(spot_at(text, 0), "not YAML: unreadable (an invalid escape or directive)")

    def spot(self, mark: Any) -> Spot:
        return spot_at(self.text, min(mark.index, len(self.text)))

    def problem(self, spot: Spot, text: str) -> None:
        self.tree.problems.append((spot, text))

    def document(self) -> None:
        starts = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                starts += 1
                if starts > 1:
                    self.problem(self.spot(event.start_mark), "a second document: a file holds one spec")
                    raise _Stop
                if event.version or event.tags:
                    self.problem(self.spot(event.start_mark), "directives (%) are not used in specs")
            elif isinstance(event, (ScalarEvent, AliasEvent, MappingStartEvent, SequenceStartEvent)):
                self.tree.root = self.node(event, 0)

    def node(self, event: Event, level: int, is_key: bool = False) -> Node:
        spot = self.spot(event.start_mark)
        if level > MOST_LEVELS:
            self.problem(spot, f"nested more than {MOST_LEVELS} levels deep")
            raise _Stop
        if isinstance(event, AliasEvent):
            self.problem(spot, f"aliases (*{event.anchor}) are not used in specs: write the value again")
            return Scalar(None, spot, spot.index)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self.problem(spot, f"anchors (&{anchor}) are not used in specs: leave it out")
        tag = getattr(event, "tag", None)
        if tag:
            self.problem(spot, f"tags ({tag}) are not used in specs: leave it out")
        if isinstance(event, ScalarEvent):
            return self.scalar(event, spot, is_key)
        if isinstance(event, SequenceStartEvent):
            items = []
            while not isinstance(e := next(self.events), SequenceEndEvent):
                items.append(self.node(e, level + 1))
            return Sequence(tuple(items), spot)
        return self.mapping(spot, level)

    def mapping(self, spot: Spot, level: int) -> Mapping:
        items: dict[str, tuple[Scalar, Node]] = {}
        while not isinstance(e := next(self.events), MappingEndEvent):
            key = self.node(e, level + 1, is_key=True)
            value = self.node(next(self.events), level + 1)
            if value == Scalar(None, value.spot, value.spot.index) and isinstance(key, Scalar):
                value = replace(value, spot=spot_at(self.text, key.end))  # left empty: at its colon
            if not isinstance(key, Scalar):
                self.problem(key.spot, "a field's name is text")
            elif key.value is None:
                if not any(s == key.spot for s, _ in self.tree.problems):
                    self.problem(key.spot, "a field's name is missing before `:`")
            elif key.value == "<<":
                self.problem(key.spot, "merge keys (<<) are not used in specs: write the fields out")
            elif key.value in items:
                first = items[key.value][0].spot
                self.problem(key.spot, f"`{key.value}` appears twice; the first is at line {first.line}")
            else:
                items[key.value] = (key, value)
        return Mapping(tuple(items.values()), spot)

    def scalar(self, event: ScalarEvent, spot: Spot, is_key: bool) -> Scalar:
        end = self.spot(event.end_mark).index
        if event.style:  # quoted, or a block
            return Scalar(event.value, spot, end)
        if event.value == "":
            return Scalar(None, spot, end)
        if is_key:  # a name is a name: `on: 1` is an unknown field, not a condition
            return Scalar(event.value, spot, end)
        value, wrong = plain(event.value)
        if wrong:
            self.problem(spot, wrong)
            if isinstance(value, bool):
                self.tree.doubtful.add(spot)
        return Scalar(value, spot, end)


class _Stop(Exception):
    """Reading on would say nothing useful."""
