"""The gallery: the variants people really use, one YAML each, and finding a spec by name or path."""

from __future__ import annotations

import difflib
from pathlib import Path

from flashgen.errors import Place, SpecError
from flashgen.resources import folder

#: Characters of a path that an error repeats.
LONGEST = 200


def gallery() -> dict[str, Path]:
    """The gallery's files by name, sorted."""
    return {path.stem: path for path in sorted(folder("specs").glob("*.yaml"))}


def find(name_or_path: str | Path) -> Path:
    """The file of a spec given by path, or by its name in the gallery.

    Raises ``SpecError`` when there is neither, naming what is near.
    """
    path = Path(name_or_path)
    is_folder = False
    if name_or_path != "":  # which Path reads as the current folder
        try:
            is_folder = path.is_dir()
            if path.exists() and not is_folder:
                return path
        except (OSError, ValueError):  # longer than a path can be, or with a NUL in it
            pass
    known = gallery()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    expected = "a YAML file's path, such as my_attention.yaml, or a name of the gallery (`flashgen list`)"
    if str(name_or_path).strip() == "":
        raise SpecError([(Place(), f"a spec without a name: expected {expected}")])
    if "\n" in str(name_or_path):
        said = f"expected {expected}, got a text of several lines; flashgen.spec.load_text(text) reads one"
        raise SpecError([(Place(), said)])
    if is_folder:
        raise SpecError([(Place(file=str(path)), f"is a folder: expected {expected}")])
    near = difflib.get_close_matches(path.stem, known, n=1)
    hint = f"; did you mean `{near[0]}`, of the gallery?" if near else "; `flashgen list` shows the gallery"
    file = str(path) if len(str(path)) <= LONGEST else f"{str(path)[:LONGEST]}..."
    raise SpecError([(Place(file=file), "no such file, and no such name in the gallery" + hint)])
