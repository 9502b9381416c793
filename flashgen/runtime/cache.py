"""The cache on disk: texts made from texts (sources, manifests, plans), found by what they were made from.

An entry is a folder named by the SHA-256 of its key; a key holds every input of code generation, since a
key too coarse silently gives the wrong kernel. Files are written beside their place and renamed into it,
so processes may share a cache; each is checked against its SHA-256 when read, and an entry that does not
fit is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flashgen.resources import cache_folder, folder
from flashgen.toolchain import triton_version

from .patience import said

INDEX = "index.json"
#: Folders beside the package whose files take part in code generation, with their suffix.
DATA = (("templates", "*.j2"), ("specs/targets", "*.yaml"))
#: Seconds that a process waits for another one.
PATIENCE_S = 600.0
#: Entries whose folders could not be written.
_unwritten: dict[Path, Mapping[str, str]] = {}


@lru_cache(maxsize=1)
def toolchain() -> Mapping[str, str]:
    """What generates code here: flashgen's own text, and the versions of what it builds on."""
    return {
        "flashgen": source_hash(),
        "triton": triton_version() or "none",
        "torch": _version("torch"),
        "jinja2": _version("jinja2"),
        "python": ".".join(map(str, sys.version_info[:3])),
    }


@lru_cache(maxsize=1)
def source_hash() -> str:
    """SHA-256 of every file of flashgen that takes part in code generation."""
    package = Path(__file__).resolve().parents[1]
    groups = [(package, package.rglob("*.py"))]
    for name, pattern in DATA:
        top, *rest = name.split("/")
        try:
            base = folder(top).joinpath(*rest)
        except FileNotFoundError:
            continue
        groups.append((base, base.rglob(pattern)))
    sha = hashlib.sha256()
    for base, files in groups:
        for path in sorted(files):
            sha.update(str(path.relative_to(base)).encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()


def fingerprint(key: Mapping[str, object]) -> str:
    """The name of the entry of ``key``, whose values are what JSON holds, with this toolchain."""
    text = json.dumps({"key": key, "toolchain": toolchain()}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def entry(
    key: Mapping[str, object], make: Callable[[], Mapping[str, str]], alone: bool = False
) -> tuple[Path, Mapping[str, str]]:
    """The folder of ``key``'s entry and its files' texts by name; ``make`` writes them where they are
    missing or damaged. Raises what ``make`` raises, and then leaves nothing behind. ``alone``: while one
    process makes it, others wait, and read what it wrote.

    Where the cache's folder cannot be written, this process's memory takes its place, under the same name.
    """
    name = fingerprint(key)
    place = cache_folder() / name[:2] / name
    found = read(place) or _unwritten.get(place)
    if found is None:
        with _turn(name) if alone else nullcontext():
            found = (read(place) if alone else None) or _made(place, make)
    return place, found


def _made(place: Path, make: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    found = dict(make())
    try:
        write(place, found)
    except OSError:
        _unwritten[place] = found
    return found


@contextmanager
def _turn(name: str) -> Iterator[None]:
    """One process of this host at a time; the lock of one that ends is free. Nobody waits for ever, nor where
    no lock can be had."""
    from filelock import FileLock, Timeout

    lock = FileLock(cache_folder() / "locks" / f"{name}.lock")
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        with said(["waiting for another process, which compiles the same kernels"]):
            lock.acquire(timeout=PATIENCE_S)
    except (OSError, NotImplementedError, Timeout):
        yield
        return
    try:
        yield
    finally:
        lock.release()


def read(place: Path) -> dict[str, str] | None:
    """The texts of the entry at ``place``; None where it is missing, unfinished or damaged."""
    try:
        index = json.loads((place / INDEX).read_bytes())
        texts = {}
        for name, sha in index.items():
            data = (place / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != sha:
                return None
            texts[name] = data.decode("utf-8")
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return texts


def write(place: Path, texts: Mapping[str, str]) -> None:
    """Write an entry, its index last: a reader sees all of it or none."""
    place.mkdir(parents=True, exist_ok=True)
    index = {}
    for name, text in texts.items():
        data = text.encode("utf-8")
        index[name] = hashlib.sha256(data).hexdigest()
        _replace(place / name, data)
    _replace(place / INDEX, json.dumps(index, sort_keys=True).encode())


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
