"""A YAML file in, an ``AttentionSpec`` out, or one ``SpecError`` with every problem and its place.

Level in: text. Level out: the checked model. ``yamltree`` knows where things stand, ``model`` knows what
is wrong with them; here the two meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flashgen.errors import Place, SpecError

from . import yamltree
from .model import AttentionSpec
from .problems import FieldError, Problem
from .yamltree import Mapping, Node, Scalar, Sequence, Spot, Tree


def load_spec(source: str | Path) -> AttentionSpec:
    """The spec in a file, or in a text: a ``str`` with a line break is text, any other is a path.

    Raises ``SpecError`` with all problems, each with file, line and column where there is one.
    """
    if isinstance(source, str) and "\n" in source:
        return load_text(source)
    path = Path(source)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([(Place(file=str(path)), f"cannot be read: {reason}")]) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        spot = yamltree.spot_at(before, len(before))
        said = f"byte 0x{data[error.start]:02X} is not UTF-8: save the file as UTF-8"
        raise SpecError([(Place(str(path), spot.line, spot.column), said)]) from None
    return load_text(text, file=str(path))


def load_text(text: str, file: str | None = None) -> AttentionSpec:
    """The spec in ``text``; ``file`` is named in errors. Raises ``SpecError``."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    tree = yamltree.read(text)
    problems = list(tree.problems)
    if isinstance(tree.root, Mapping):
        try:
            spec = AttentionSpec(**_value(tree.root))
        except FieldError as error:
            found = [(_spot(text, tree.root, p), p.text) for p in error.details]
            # A field that is wrong whether `no` is false or text says so better than YAML's doubt does.
            better = tree.doubtful & {spot for spot, _ in found}
            problems = [p for p in problems if p[0] not in better]
            # What else the YAML itself got wrong is reported once, not again by the field it stands in.
            taken = {spot for spot, _ in problems}
            problems += [(spot, said) for spot, said in found if spot not in taken]
        else:
            if not problems:
                return spec
    elif not problems:
        problems.append(_not_a_mapping(text, tree))
    ordered = sorted(problems, key=lambda p: p[0].index)
    raise SpecError([(Place(file, spot.line, spot.column), said) for spot, said in ordered])


def _not_a_mapping(text: str, tree: Tree) -> tuple[Spot, str]:
    if tree.root is None or (isinstance(tree.root, Scalar) and tree.root.value is None):
        return yamltree.spot_at(text, 0), "the file is empty: a spec needs at least `name` and `head_dim`"
    what = "a list" if isinstance(tree.root, Sequence) else "a single value"
    return tree.root.spot, f"expected fields such as `name: my_attention`, got {what}"


def _value(node: Node) -> Any:
    if isinstance(node, Mapping):
        return {str(key.value): _value(value) for key, value in node.items}
    if isinstance(node, Sequence):
        return [_value(item) for item in node.items]
    return node.value


def _spot(text: str, root: Node, problem: Problem) -> Spot:
    """Where ``problem`` stands: follows its path as far as the tree goes."""
    node, spot = root, root.spot
    for step in problem.path:
        if isinstance(node, Mapping):
            entry = next(((k, v) for k, v in node.items if k.value == step), None)
            if entry is None:  # a missing field: the mapping that should hold it
                return spot
            spot, node = entry[0].spot if problem.at_key else entry[1].spot, entry[1]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            spot = node.spot
        else:
            return spot
    if problem.offset is not None and isinstance(node, Scalar) and isinstance(node.value, str):
        return yamltree.spot_at(text, character_at(text, node, problem.offset))
    return spot


def character_at(text: str, node: Scalar, offset: int) -> int:
    """The index in ``text`` of character ``offset`` of a scalar's value, however it was written.

    Folding and escapes change white space, so the other characters are counted; an offset at white
    space means what follows it.
    """
    letters = list(_letters(text, node))
    before = sum(not c.isspace() for c in str(node.value)[:offset])
    if before < len(letters):
        return letters[before]
    return letters[-1] + 1 if letters else node.spot.index


def _letters(text: str, node: Scalar) -> Iterator[int]:
    """Where each character of a scalar's value stands, white space left out."""
    at, end = node.spot.index, node.end
    style = text[at : at + 1]
    if style in ("|", ">"):
        at = text.find("\n", at, end) + 1 or end
    elif style in ("'", '"'):
        at, end = at + 1, end - 1
    while at < end:
        length, letter = 1, text[at]
        if style == "'" and letter == "'":
            length = 2
        elif style == '"' and letter == "\\":
            kind = text[at + 1]
            length = {"x": 4, "u": 6, "U": 10}.get(kind, 2)
            letter = (
                " " if kind in _SPACES else chr(int(text[at + 2 : at + length], 16)) if length > 2 else kind
            )
        if not letter.isspace():
            yield at
        at += length


#: Escapes of double-quoted text that stand for white space (YAML 1.2, section 5.7).
_SPACES = "ntrvf NLP_\t\n"
