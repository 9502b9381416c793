"""Files that a command will write, tried before its work: nobody waits minutes for an error."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flashgen.errors import FlashgenError


def check_file(path: Path | None) -> None:
    """Raises ``FlashgenError`` where the file ``path`` cannot be written; leaves no trace. None is fine."""
    if path is None:
        return
    if path.is_dir():
        raise FlashgenError(f"{path} cannot be written: it is a folder")
    check_folder(path.parent)
    if path.exists():
        try:
            path.open("ab").close()
        except OSError as error:
            raise FlashgenError(f"{path} cannot be written: {error.strerror}") from None


def check_folder(folder: Path | None) -> None:
    """Raises ``FlashgenError`` where no file can be made in ``folder``, which need not be there yet."""
    if folder is None:
        return
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise FlashgenError(f"{folder} cannot be written: {there} is no folder")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise FlashgenError(f"{folder} cannot be written: {error.strerror} in {there}") from None
