"""What can go wrong, as a user sees it. A ``FlashgenError`` is the user's to mend; any other exception
out of flashgen is a bug in flashgen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A position in a spec: ``file:line:column`` (1-based) and the field, as far as they are known."""

    file: str | None = None
    line: int | None = None
    column: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        spot = ":".join(str(p) for p in (self.file, self.line, self.column) if p is not None)
        return ": ".join(p for p in (spot, self.field) if p)


class FlashgenError(Exception):
    """An error whose message says what was wrong, where, what was expected and what would work.

    ``status`` is what a command that ends by it exits with."""

    status = 1


class CannotRun(FlashgenError):
    """The surroundings lack what was asked for (Triton, a folder to write to, a GPU): nothing was found out
    about the spec. The message says what is missing and what would work."""

    status = 3


class ExprError(FlashgenError):
    """An expression that is not in the language. ``offset`` counts characters from its start."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class SpecError(FlashgenError):
    """One or more errors of a spec, each with its place."""

    def __init__(self, problems: list[tuple[Place, str]]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{place}: {text}" if str(place) else text for place, text in problems))


class PlanError(FlashgenError):
    """No plan exists for this spec on this target."""


class TensorError(FlashgenError, ValueError):
    """A tensor that does not fit: names the argument, what it is, and what was expected."""
