"""Passes over statements and lines: each says what it takes out or moves, and leaves what verifies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from flashgen.backends.listing import Act, Assign, For, Line, Node, names_in, verify, walk
from flashgen.backends.passes.dead import needed
from flashgen.backends.passes.hoisting import hoisted, unrepeated
from flashgen.backends.passes.inline import inlined
from flashgen.backends.passes.naming import settled
from flashgen.backends.passes.sharing import shared
from flashgen.backends.triton.emit.lines import Lines
from flashgen.backends.triton.emit.triton import PASSES, arguments, lowered
from flashgen.driver import SCHEDULES
from flashgen.expr.lengths import LENGTHS
from flashgen.expr.nodes import Call, Expr, Read, Var, integer
from flashgen.ir.names import MARK, remarked
from flashgen.ir.program import Loop, Map, Tile, statements
from flashgen.ir.uses import defined
from flashgen.ir.verify import InvalidIR, verify_program
from flashgen.plan.late_sums import arrange

from .building import SPECS, plan, program, spec


def var(name: str) -> Var:
    return Var(name, "int")


def plus(*names: str) -> Expr:
    out: Expr = var(names[0])
    for n in names[1:]:
        out = Call("add", (out, var(n)), "int")
    return out


def let(name: str, *read: str) -> Assign:
    return Assign(Tile(name, (), "int"), plus(*read) if read else integer(1))


@dataclass(frozen=True)
class Put(Node):
    """Stores what it names."""

    value: Tile


def put(name: str) -> Act:
    return Act(Put(Tile(name, (), "int")))


def loop(*body: Line, hi: str = "n") -> For:
    return For(var("j"), integer(0), var(hi), body)


def assigned(lines: tuple[Line, ...]) -> list[str]:
    return [line.dst.name for line in walk(lines) if isinstance(line, Assign)]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SPECS)
def test_sums_that_wait_are_a_program_of_the_same_statements(name: str, schedule: str) -> None:
    if "backward" in schedule and not spec(name).backward:
        pytest.skip("no backward")
    p = program(name, schedule)
    late = arrange(p, plan(p, warps=8))
    verify_program(late)
    for a, b in zip(p.kernels, late.kernels, strict=True):
        for before, after in zip(a.body, b.body, strict=True):
            assert {repr(s) for s in statements((before,))[1:]} == {repr(s) for s in statements((after,))[1:]}
    assert arrange(p, plan(p, warps=4)) == p


def test_a_row_sum_waits_for_the_dot_where_a_block_has_an_sm_to_itself() -> None:
    def order(warps: int) -> list[str]:
        p = program("plain")
        loop = next(s for s in arrange(p, plan(p, warps=warps)).kernels[0].body if isinstance(s, Loop))
        return [n for s in loop.body if (n := defined(s)) in ("l", "o0")]

    assert (order(4), order(8)) == (["l", "o0"], ["o0", "l"])


@pytest.mark.parametrize("loads", ["pointer", "descriptor"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SPECS)
def test_every_pass_leaves_what_verifies(name: str, schedule: str, loads: str) -> None:
    if "backward" in schedule and not spec(name).backward:
        pytest.skip("no backward")
    p = remarked(program(name, schedule))
    verify_program(replace(p, kernels=tuple(map(shared, p.kernels))))
    whole = plan(p, group=4)
    for kernel, planned in zip(p.kernels, whole.kernels, strict=True):
        planned = replace(planned, loads=loads)  # type: ignore[arg-type]
        lines, lower = lowered(p, kernel, planned, whole.dtype)
        known = {a.name for a in arguments(p, dict(planned.sides), lower)}
        verify(lines, known)
        for done in PASSES:
            lines = done(lines)
            verify(lines, known)
        lines, final = settled(lines, sorted(known), ())
        assert not any(MARK in n for n in names_in(lines))
        verify(lines, {final.get(n, n) for n in known})


def test_dead_code_is_what_no_store_rests_on() -> None:
    lines = (let("a"), let("b", "a"), let("c", "a"), let("d", "c"), put("b"))
    assert assigned(needed(lines)) == ["a", "b"]


def test_a_loop_needs_what_its_next_pass_reads() -> None:
    body = (let("t", "x"), let("x", "y"), let("y", "z"), let("u", "t"))
    lines = (let("x"), let("y"), let("z"), let("n"), loop(*body), put("x"))
    assert assigned(needed(lines)) == ["x", "y", "z", "n", "x", "y"]


def test_a_loop_of_nothing_goes_with_its_bounds() -> None:
    assert needed((let("n"), loop(let("t")), let("x"), put("x"))) == (let("x"), put("x"))


def test_a_name_that_is_assigned_again_is_dead_before() -> None:
    assert needed((let("x"), let("x", "y"), put("x"))) == (let("x", "y"), put("x"))


def part(name: str, *read: str) -> Assign:
    return replace(let(name, *read), moves=True)


def test_parts_of_addresses_leave_the_loops_that_leave_them_alone() -> None:
    inner = loop(part("p", "a"), part("q", "x"), part("r", "j"), put("p"))
    lines = (loop(let("x", "a"), inner),)
    left = replace(inner, body=(part("r", "j"), put("p")))
    assert hoisted(lines) == (part("p", "a"), loop(let("x", "a"), part("q", "x"), left))


def test_what_bounds_take_stands_between_what_moves_and_the_loop() -> None:
    bounded = replace(loop(part("p", "a"), let("y", "b")), before=(let("n", "c"),))
    assert bounded.uses == {"c"}
    assert hoisted((bounded,)) == (part("p", "a"), let("n", "c"), loop(let("y", "b")))


def test_what_a_name_holds_is_not_assigned_again() -> None:
    a, b = part("p", "a"), let("b", "p")
    assert unrepeated((a, b, loop(let("x")), a)) == (a, b, loop(let("x")))
    assert unrepeated((a, let("a"), a)) == (a, let("a"), a)
    assert unrepeated((a, loop(let("a")), a)) == (a, loop(let("a")), a)


def every(a: Assign) -> bool:
    return True


def test_what_is_read_once_next_stands_inside() -> None:
    lines = inlined((let("x", "a"), let("y", "x", "b"), put("y")), lambda a: a.dst.name == "x", every)
    assert lines == (replace(let("y", "x", "b"), inside=(let("x", "a"),)), put("y"))
    assert lines[0].uses == {"a", "b"}


@pytest.mark.parametrize(
    "after",
    [
        (let("y", "x"), let("z", "x")),  # read twice
        (let("y", "x", "x"),),
        (put("b"), let("y", "x")),  # a store between
        (let("a"), let("y", "x")),  # what it reads is assigned between
        (loop(let("y", "x")),),
        (put("x"),),
    ],
)
def test_what_is_not_stays_a_line(after: tuple[Line, ...]) -> None:
    lines = (let("x", "a"), *after)
    assert inlined(lines, lambda a: a.dst.name == "x", every) == lines


@pytest.mark.parametrize(
    "body, after",
    [((let("t", "x"), let("x", "a"), let("y", "x")), "y"), ((let("x", "a"), let("y", "x")), "x")],
)
def test_what_a_next_pass_or_the_end_reads_stays_a_line(body: tuple[Line, ...], after: str) -> None:
    lines = (let("x"), let("y"), loop(*body), put(after))
    assert inlined(lines, lambda a: a.dst.name == "x", every) == lines


def test_invented_names_give_way() -> None:
    x = f"x{MARK}"
    lines, table = settled((let(x, "a"), let("x", x), let(f"range{MARK}", x), put("x")), ["a"], ["range"])
    assert assigned(lines) == ["x2", "x", "range2"]
    assert table == {x: "x2", f"range{MARK}": "range2"}
    assert lines[1].uses == {"x2"}


def test_common_parts_of_a_statement_are_computed_once() -> None:
    kernel = program("capped_window").kernels[0]
    made = [s for s in statements(shared(kernel).body) if isinstance(s, Map)]
    assert shared(shared(kernel)) == shared(kernel)
    assert len(made) >= sum(isinstance(s, Map) for s in statements(kernel.body))


@pytest.mark.parametrize(
    "lines, said",
    [
        ((put("x"),), "x: read before it is assigned"),
        ((loop(let("t", "x"), let("x"), hi="a"),), "x: read before"),
        ((loop(let("t"), hi="a"), put("t")), "t: read before"),
        ((Assign(Tile("y", (), "int"), Read("bias", (integer(0),), "float")),), "read outside a load"),
        ((replace(let("y", "a"), inside=(let("x"),)),), "stands inside it is read once"),
    ],
)
def test_the_verifier_refuses(lines: tuple[Line, ...], said: str) -> None:
    with pytest.raises(InvalidIR, match=said):
        verify(lines, {"a"})


def test_the_printer_refuses_what_was_not_lowered() -> None:
    printer = Lines(lambda *a, **facts: "", widen=True, dialect="exact")
    with pytest.raises(InvalidIR, match="Put is no node of Triton's"):
        printer.texts([put("x")])
    with pytest.raises(InvalidIR, match="bounds of j were not taken out"):
        printer.texts([replace(loop(let("x")), before=(let("n"),))])


def test_arguments_are_what_the_lines_name() -> None:
    p = program("slopes")
    lines, lower = lowered(p, p.kernels[0], plan(p).kernels[0], "fp16")
    used = {n for line in walk(needed(lines)) for n in line.uses}
    found = [a.name for a in arguments(p, dict(plan(p).kernels[0].sides), lower) if a.name in used]
    assert "slopes_ptr" in found
    assert set(LENGTHS) & set(found) == {"Hq", "Hkv", "Nq", "Nk"}
