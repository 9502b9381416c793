"""Files that commands write: named where they cannot be, and that before the work whose result they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

from flashgen.errors import FlashgenError


def writable(*paths: Path | None) -> None:
    """Raise ``FlashgenError`` for the first file that could not be written, before the work whose result goes
    there. Leaves nothing behind; None is fine."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise FlashgenError(f"{path} cannot be written: it is a folder")
        above = next(p for p in path.absolute().parents if p.exists())
        if not above.is_dir():
            raise FlashgenError(f"{path} cannot be written: {above} is no folder")
        try:
            if path.exists():
                path.open("ab").close()
            else:
                TemporaryFile(dir=above).close()
        except OSError as error:
            raise FlashgenError(f"{path} cannot be written: {error.strerror} in {above}") from None


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files into ``folder``, which is made where it is missing. Raises ``FlashgenError``."""
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = folder / name
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FlashgenError(f"{path} cannot be written: {error.strerror}") from None
