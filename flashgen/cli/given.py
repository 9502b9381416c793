"""What commands that plan are given, read by all in the same way."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from flashgen.ask.question import algorithm, given, heads_of, workload

__all__ = ["algorithm", "given", "heads_of", "workload"]

Spec: TypeAlias = Annotated[str, typer.Argument(metavar="SPEC", help="A file, or a name of the gallery.")]
Dtype: TypeAlias = Annotated[
    str | None,
    typer.Option("--dtype", help="fp16, bf16 or fp32; default: the spec's first that the target has."),
]
Sram: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--sram",
        help="Plan as if one thread block could use this much shared memory, such as 96KiB; "
        "default: what one block may use on the target.",
    ),
]
Seqlen: TypeAlias = Annotated[int, typer.Option(min=1, help="Key length, and query length.")]
SeqlenQ: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Query length.")]
Batch: TypeAlias = Annotated[int, typer.Option(min=1, help="Batch size.")]
Heads: TypeAlias = Annotated[str | None, typer.Option(help="Query heads, or query/key heads: 32 or 32/8.")]
Schedule: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="The algorithm, such as flash2 (the default), standard, backward; a wrong name lists them.",
    ),
]
Backward: TypeAlias = Annotated[bool, typer.Option("--backward", help="Short for --schedule backward.")]
