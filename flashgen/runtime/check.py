"""Checks of the tensors of a call, before anything runs. Each failure is one ``TensorError`` that names
the argument, says what it is, what was expected and what would work.

Sizes may be symbolic (torch.compile): only comparisons are made of them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

from flashgen.errors import TensorError
from flashgen.expr.limits import MOST_LENGTH
from flashgen.expr.words import instead

from .signature import InputDecl, Signature
from .sizes import equal, is_number

#: Fields of a spec that people pass to a call.
FIELDS = ("mask", "score", "scale", "dropout", "heads", "head_dim", "sink")
FIELD = "it is one of its fields, not an argument"

DTYPES: Mapping[torch.dtype, str] = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
}
INPUT_DTYPES: Mapping[str, tuple[torch.dtype, ...]] = {
    "float": (torch.float16, torch.bfloat16, torch.float32),
    "int": (torch.int32, torch.int64),
    "bool": (torch.bool,),
}
#: How a tensor of another dtype becomes an input.
_CASTS: Mapping[str, str] = {"float": "float()", "int": "long()", "bool": "bool()"}
LAYOUT = "(batch, heads, seqlen, head_dim)"


def check(sig: Signature, q: Tensor, k: Tensor, v: Tensor, inputs: Sequence[Tensor]) -> None:
    """Raise ``TensorError`` unless the tensors fit the signature."""
    for name, t in (("q", q), ("k", k), ("v", v)):
        _matrix(sig, name, t, q)
    _sizes(sig, q, k, v)
    if len(inputs) != len(sig.inputs):
        raise TensorError(f"{sig.name} takes {len(sig.inputs)} inputs {list(sig.names)}, got {len(inputs)}")
    if sig.inputs:
        symbols = ("batch", "heads", "kv_heads", "seqlen_q", "seqlen_k")
        sizes = dict(zip(symbols, (*q.shape[:2], k.shape[1], q.shape[2], k.shape[2]), strict=True))
        for decl, t in zip(sig.inputs, inputs, strict=True):
            _input(decl, t, sizes, q)


def check_call(sig: Signature, schedule: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """The tensors of a program's call by name. Raises ``TensorError`` unless all fit the signature."""
    names = sig.given(schedule)
    if len(tensors) != len(names):
        raise TensorError(f"{sig.name} takes {len(names)} tensors {list(names)}, got {len(tensors)}")
    given = dict(zip(names, tensors, strict=True))
    q = given["q"]
    check(sig, q, given["k"], given["v"], [given[n] for n in sig.names])
    lse = torch.float64 if q.dtype == torch.float64 else torch.float32
    rows = tuple(q.shape[:3])
    saved = {"do": ((*rows, sig.d_v), q.dtype), "o": ((*rows, sig.d_v), q.dtype)}
    saved |= dict.fromkeys(("lse", "lse_lo", "dlse"), (rows, lse)) | {"seed": ((1,), torch.int64)}
    for name, expected in saved.items():
        if sig.ours(name) in names:
            _like(name, given[sig.ours(name)], *expected, q.device)
    return given


def _like(name: str, t: Tensor, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
    same = t.dim() == len(shape) and all(equal(a, b) for a, b in zip(t.shape, shape, strict=True))
    if not same or t.dtype != dtype or t.device != device:
        raise TensorError(
            f"{name} is {t.dtype} of shape {shown(t.shape)} on {t.device}; expected {dtype} of shape "
            f"{shown(shape)} on {device}"
        )


def check_given(sig: Signature, given: Sequence[object]) -> None:
    """Raise for what is no tensor, or where a gradient would be lost; ``given`` are q, k, v and inputs."""
    numbers = {i.name for i in sig.inputs if not i.shape}
    for name, t in zip(("q", "k", "v", *sig.names), given, strict=True):
        if not isinstance(t, Tensor):
            one = name in numbers and isinstance(t, (bool, int, float))
            works = f". torch.tensor({t!r}, device=q.device) would work" if one else ""
            raise TensorError(f"{name} is {_a(t)}; expected a torch.Tensor{works}")
    if torch.is_grad_enabled():
        check_learned(sig, [isinstance(t, Tensor) and t.requires_grad for t in given])


def check_learned(sig: Signature, wanted: Sequence[bool]) -> None:
    """Raise for one of q, k, v and the inputs whose gradient is wanted and that has none: of a spec without a
    backward, or an input that is not declared as learned."""
    for name, asked in zip(("q", "k", "v", *sig.names), wanted, strict=True):
        if not asked:
            continue
        if not sig.backward:
            raise TensorError(
                f"{name} requires grad, and {sig.name} has no backward (its field `backward` is false). Call "
                f"under torch.no_grad(), pass {name}.detach(), or leave `backward` out of the spec"
            )
        if name in sig.names and name not in sig.learned:
            raise TensorError(
                f"{name} requires grad, and {sig.name} does not declare it as learned: its gradient would be "
                f"lost. Write `grad: true` for the input {name}, or pass {name}.detach()"
            )


SEEDS = 2**63


def seed_tensor(seed: object, device: torch.device) -> Tensor:
    """The dropout's seed as the op takes it: int64, one element, on ``device``; drawn by torch's generator
    where none is given. Raises ``TensorError`` for anything that is no seed."""
    if seed is None:
        return torch.randint(0, SEEDS - 1, (1,), dtype=torch.int64, device=device)
    sound = check_seed(seed, device)
    return (
        sound.reshape(1)
        if isinstance(sound, Tensor)
        else torch.full((1,), sound, dtype=torch.int64, device=device)
    )


def check_seed(seed: object, device: torch.device) -> int | Tensor:
    """``seed`` as an int, or as the tensor of one element that it is. Raises ``TensorError`` for what is
    neither; what stands in a tensor is not looked at, which would wait for the device."""
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.numel() != 1 or seed.device != device:
            raise TensorError(
                f"seed is {seed.dtype} of shape {shown(seed.shape)} on {seed.device}; expected one int64 on "
                f"{device}"
            )
        return seed
    number = None if isinstance(seed, bool) else _integer(seed)
    if number is None:
        raise TensorError(f"seed is {_a(seed)}; expected an int or an int64 tensor of one element")
    if not 0 <= number < SEEDS:
        raise TensorError(f"seed is {number}; expected 0 <= seed < 2**63")
    return number


def _integer(x: object) -> int | None:
    """An int, also one of numpy, as Python's own; None for anything else."""
    if isinstance(x, int):
        return x
    try:
        return operator.index(x)  # type: ignore[arg-type]
    except TypeError:
        return None


def _a(x: object) -> str:
    """The type of ``x`` with its article."""
    kind = type(x).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def check_training(training: object) -> None:
    """Raise for what is neither True nor False."""
    if not isinstance(training, bool):
        raise TensorError(
            f"training is {training!r} ({_a(training)}); expected True or False, as `module.training` is"
        )


def transformed() -> bool:
    """Whether a transform of torch.func is under way."""
    return _functorch.peek_interpreter_stack() is not None


def differentiated() -> bool:
    """Whether forward-mode differentiation is under way."""
    return forward_ad._current_level >= 0


def check_tangents(names: Sequence[str], arguments: Sequence[object]) -> None:
    """Raise for a tensor, also of a list of them, that carries a tangent: it would be lost."""
    for name, argument in zip(names, arguments, strict=True):
        if isinstance(argument, Tensor):
            if forward_ad.unpack_dual(argument).tangent is not None:  # type: ignore[no-untyped-call]
                raise no_tangent(name)
        elif isinstance(argument, (list, tuple)):
            check_tangents([f"{name}[{i}]" for i in range(len(argument))], argument)


def no_tangent(what: str) -> TensorError:
    """That there is no forward mode."""
    return TensorError(
        f"{what} carries a tangent, and flashgen has no forward-mode derivative (torch.func.jvp, jacfwd, "
        "hessian, torch.autograd.forward_ad): the result would lose it. Use a reverse-mode one, such as "
        "torch.func.vjp or jacrev, or pass tensors without tangents"
    )


def dense(names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Raise for the first tensor that is not strided and dense."""
    for name, t in zip(names, tensors, strict=True):
        if t.layout != torch.strided or t.is_nested or t.is_quantized:
            kind = "nested" if t.is_nested else "quantized" if t.is_quantized else str(t.layout)
            raise TensorError(f"{name} is {kind}; expected a dense tensor, such as {name}.to_dense() is")


def named(sig: Signature, given: Mapping[str, Tensor]) -> list[Tensor]:
    """The inputs by name in the op's order. Raises ``TensorError`` for a missing or an unknown one."""
    found = [given[n] for n in sig.names if n in given]
    if len(found) == len(sig.names) == len(given):
        return found
    if unknown := [n for n in given if n not in sig.names]:
        takes = f"it takes {', '.join(sig.names)}" if sig.names else "it takes none"
        how = instead(unknown[0]) or (FIELD if unknown[0] in FIELDS else None)
        spec = f". In the spec: {how}" if how else ""
        raise TensorError(f"{unknown[0]} is not an input of {sig.name}: {takes}{spec}")
    i = next(i for i in sig.inputs if i.name not in given)
    raise TensorError(
        f"{i.name} is missing: {sig.name} reads it. Pass {i.name}=<{i.type} tensor {shown(i.shape)}>"
    )


def shown(shape: Sequence[object]) -> str:
    """A shape in brackets."""
    return "[" + ", ".join(map(str, shape)) + "]"


def _matrix(sig: Signature, name: str, t: Tensor, q: Tensor) -> None:
    if t.dim() != 4:
        raise TensorError(f"{name} has {t.dim()} dims, shape {shown(t.shape)}; expected 4, {LAYOUT}")
    if t.dtype not in DTYPES or DTYPES[t.dtype] not in sig.dtypes:
        raise TensorError(f"{name} is {t.dtype}; {sig.name} is declared for {', '.join(sig.dtypes)}")
    if t.dtype != q.dtype:
        raise TensorError(f"{name} is {t.dtype} and q is {q.dtype}; q, k and v share one dtype")
    if t.device != q.device:
        raise TensorError(f"{name} is on {t.device} and q on {q.device}; move it with {name}.to(q.device)")
    if t.dtype == torch.float64 and t.device.type != "cpu":
        raise TensorError(f"{name} is torch.float64 on {t.device}; fp64 runs on the CPU only")
    d = sig.d_v if name == "v" else sig.d_qk
    if not equal(t.shape[3], d):
        raise TensorError(
            f"{name} has head dim {t.shape[3]}, shape {shown(t.shape)}; {sig.name} is for {d}, {LAYOUT}"
        )
    if not is_number(t.stride(3), 1):
        raise TensorError(
            f"{name} has strides {shown(t.stride())}; the last must be 1 (a head's row is read as one "
            f"piece). {name}.contiguous() would work"
        )


def _sizes(sig: Signature, q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, t in (("q", q), ("k", k)):
        for n, what in zip(t.shape[:3], ("batch", "heads", "seqlen"), strict=True):
            if isinstance(n, int) and n > MOST_LENGTH:  # a symbol is looked at when it is a number
                raise TensorError(f"{name} has {what} {n}; at most {MOST_LENGTH} are indexed in 32 bits")
    for name, t in (("k", k), ("v", v)):
        if not equal(t.shape[0], q.shape[0]):
            raise TensorError(f"{name} has batch {t.shape[0]} and q {q.shape[0]}; they must be equal")
    for d, what in ((1, "heads"), (2, "seqlen")):
        if not equal(v.shape[d], k.shape[d]):
            raise TensorError(f"v has {what} {v.shape[d]} and k {k.shape[d]}; they must be equal")
    hq, hkv = q.shape[1], k.shape[1]
    if sig.heads is not None and not (equal(hq, sig.heads[0]) and equal(hkv, sig.heads[1])):
        raise TensorError(
            f"q has {hq} heads and k {hkv}; {sig.name} fixes {sig.heads[0]} and {sig.heads[1]} "
            "(its field `heads`)"
        )
    if is_number(hkv, 0) or not equal(hq % hkv, 0):
        raise TensorError(
            f"q has {hq} heads and k {hkv}; expected a multiple (query head h reads head "
            "h // (Hq // Hkv) of k and v)"
        )


def _input(decl: InputDecl, t: Tensor, sizes: Mapping[str, int], q: Tensor) -> None:
    name = decl.name
    want = tuple(sizes[d] if isinstance(d, str) else d for d in decl.shape)
    here = shown(want)
    expected = here if here == shown(decl.shape) else f"{shown(decl.shape)}, here {here}"
    if t.dim() != len(want):
        one = f". {name}.reshape(()) would work" if not want and all(n == 1 for n in t.shape) else ""
        raise TensorError(f"{name} has {t.dim()} dims, shape {shown(t.shape)}; expected {expected}{one}")
    for i, (have, size) in enumerate(zip(t.shape, want, strict=True)):
        if not equal(have, size):
            hint = f". {name}.expand({', '.join(map(str, want))}) would work" if have == 1 else ""
            raise TensorError(
                f"{name} has shape {shown(t.shape)}; expected {expected}: dim {i} is {have}, not {size}{hint}"
            )
    fits = INPUT_DTYPES[decl.type] + ((q.dtype,) if decl.type == "float" else ())
    if t.dtype not in fits:
        raise TensorError(
            f"{name} is {t.dtype}; {decl.type} inputs are {', '.join(map(str, INPUT_DTYPES[decl.type]))}. "
            f"{name}.{_CASTS[decl.type]} would work"
        )
    if t.device != q.device:
        raise TensorError(f"{name} is on {t.device} and q on {q.device}; move it with {name}.to(q.device)")
