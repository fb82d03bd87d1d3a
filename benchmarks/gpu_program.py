"""The cost of a compiled GPU program, from the text of its optimised HLO and from its PTX.

Every kernel reads its operands once and writes its results once. Of a table that is gathered from
or scattered to, only the sectors of 32 bytes that are touched are counted, and at most the whole
table where the card's L2 cache holds it: an upper bound of the traffic to the memory.
"""

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_BITS = {"pred": 8, "bf16": 16, "token": 0}
"""Of element types whose name does not end in their number of bits."""

_NO_KERNEL = {
    *{"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"},
    *{"while", "conditional", "call", "opt-barrier", "partition-id"},
}
_PARTIAL = {"gather", "scatter", "dynamic-slice", "dynamic-update-slice"}
"""Instructions that touch a part of their first operand only."""

_SECTOR = 32
"""Bytes that the memory transfers at least."""

_COMPARE_AND_SWAP = re.compile(r"\batom\.[\w.]*\bcas\b")
_ATOMIC_ADD = re.compile(r"\b(?:atom|red)\.[\w.]*\badd\b")


class Instruction(NamedTuple):
    """One line of HLO."""

    name: str
    type: str
    opcode: str
    arguments: str
    attributes: str

    @property
    def operands(self) -> list[str]:
        """The names of the instructions that it reads."""
        return re.findall(r"%([\w.-]+)", self.arguments)

    def called(self, attribute: str) -> list[str]:
        """The names of the computations that an attribute lists."""
        found = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%[\w.-]+)", self.attributes)
        return re.findall(r"%([\w.-]+)", found[1]) if found else []

    @property
    def trip_count(self) -> int | None:
        """Of a loop; None where only the device knows it, so that the host waits for it."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.attributes)
        return int(found[1]) if found else None


Program = dict[str, list[Instruction]]
"""The computations by name; the one called ``ENTRY`` is the whole program."""


class Kernel(NamedTuple):
    """One launch of a program, or several."""

    name: str
    num_bytes: int
    times: int


@dataclass
class Cost:
    """What a program, or a part of it, does on a GPU."""

    kernels: list[Kernel] = field(default_factory=list)
    host_loops: int = 0
    """Loops whose end only the device knows: the host waits in every iteration."""
    branches: int = 0
    """Conditionals: the host waits for the predicate."""

    @property
    def num_kernels(self) -> int:
        return sum(kernel.times for kernel in self.kernels)

    @property
    def num_bytes(self) -> int:
        return sum(kernel.times * kernel.num_bytes for kernel in self.kernels)

    def add(self, other: "Cost", times: int = 1) -> None:
        """Add another part, which runs some times."""
        self.kernels += [k._replace(times=k.times * times) for k in other.kernels]
        self.host_loops += other.host_loops
        self.branches += other.branches


def parse(text: str) -> Program:
    """The computations of optimised HLO."""
    program: Program = {}
    line_of_code = re.compile(r"^\s+(?:ROOT )?%([\w.-]+) = (.*)$")
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%([\w.-]+) \(.*\{$", line)
        if head:
            body = program.setdefault("ENTRY" if head[1] else head[2], [])
        elif found := line_of_code.match(line):
            body.append(_instruction(found[1], re.sub(r"/\*.*?\*/", "", found[2])))
    return program


def _instruction(name: str, text: str) -> Instruction:
    end = _closing(text) + 1 if text.startswith("(") else text.index(" ")
    opcode, rest = text[end:].strip().split("(", 1)
    close = _closing("(" + rest) - 1
    return Instruction(name, text[:end], opcode, rest[:close], rest[close:])


def _closing(text: str) -> int:
    """The index of the bracket that closes the first one."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return index
    raise ValueError(f"no closing bracket in {text[:80]}")


@functools.cache
def num_bytes(shape: str) -> int:
    """The size of a type, of a tuple all of it."""
    total = 0
    for kind, sizes in re.findall(r"\b([a-z]\w*)\[([\d,]*)\]", shape):
        bits = _BITS.get(kind) or int((re.search(r"\d+", kind) or [0])[0])
        total += math.prod(int(n) for n in sizes.split(",") if n) * bits // 8
    return total


def cost(program: Program, name: str = "ENTRY", l2_bytes: int = 0) -> Cost:
    """The cost of a computation; of a branch, the larger one's.

    Args:
        program: all computations.
        name: of the computation.
        l2_bytes: the size of the card's L2 cache.
    """
    total = Cost()
    types = {one.name: one.type for one in program[name]}
    for one in program[name]:
        if one.opcode == "while":
            total.add(cost(program, one.called("body")[0], l2_bytes), one.trip_count or 1)
            total.host_loops += one.trip_count is None
        elif one.opcode == "conditional":
            names = [
                *one.called("branch_computations"),
                *one.called("true_computation"),
                *one.called("false_computation"),
            ]
            total.add(max((cost(program, n, l2_bytes) for n in names), key=lambda c: c.num_bytes))
            total.branches += 1
        elif one.opcode in ("call", "async-start"):
            inner = one.called("to_apply") or one.called("calls")
            total.add(cost(program, inner[0], l2_bytes))
        elif one.opcode not in _NO_KERNEL and not one.opcode.endswith("-done"):
            total.kernels.append(Kernel(one.name, _traffic(program, one, types, l2_bytes), 1))
    return total


def step_cost(program: Program, l2_bytes: int = 0) -> Cost:
    """The cost of one step of training: of an iteration of the program's outermost loop."""
    loops = [one for one in program["ENTRY"] if one.opcode == "while"]
    if len(loops) != 1 or loops[0].trip_count is None:
        raise ValueError("the program is not one scan of a known length")
    return cost(program, loops[0].called("body")[0], l2_bytes)


def _traffic(program: Program, one: Instruction, types: dict[str, str], l2_bytes: int) -> int:
    """Bytes that a kernel reads and writes."""
    inner = program[one.called("calls")[0]] if one.opcode == "fusion" else []
    parameters = {int(i.arguments): i.name for i in inner if i.opcode == "parameter"}
    read, written = 0, num_bytes(one.type)
    for index, name in enumerate(one.operands):
        size = num_bytes(types[name])
        touched, in_place = _touched(inner, parameters.get(index, "")) or (size, False)
        touched = min(touched, size) if size <= l2_bytes else touched
        read += touched
        written -= max(0, size - touched) if in_place else 0
    return read + max(written, 0)


def _touched(inner: list[Instruction], name: str) -> tuple[int, bool] | None:
    """Bytes of a parameter that a fusion touches, and whether it is written in place.

    None if all of it is read.
    """
    few, in_place, names = 0, False, {name}
    types = {one.name: one.type for one in inner}
    for one in inner:
        at = [index for index, operand in enumerate(one.operands) if operand in names]
        if not at:
            continue
        if one.opcode == "bitcast":
            names.add(one.name)
        elif at != [0] or one.opcode not in _PARTIAL:
            return None
        elif one.opcode == "gather":
            sizes = re.search(r"slice_sizes=\{([\d,]+)\}", one.attributes)[1]
            few += _sectors(one.type, math.prod(map(int, sizes.split(","))))
        elif one.opcode == "dynamic-slice":
            few += num_bytes(one.type)
        else:
            in_place = True
            updates = types[one.operands[1 if one.opcode == "dynamic-update-slice" else 2]]
            few += _sectors(updates, _window(one, updates))
    return few, in_place


def _window(one: Instruction, updates: str) -> int:
    """The number of neighbouring elements that an update writes."""
    sizes = _sizes(updates)
    window = re.search(r"update_window_dims=\{([\d,]*)\}", one.attributes)
    dims = [int(n) for n in window[1].split(",") if n] if window else range(len(sizes))
    return math.prod(sizes[dim] for dim in dims)


def _sectors(shape: str, row: int) -> int:
    """Bytes of the sectors that the rows of an array touch, each of which is somewhere else."""
    elements = math.prod(_sizes(shape))
    row_bytes = num_bytes(shape) * row // max(elements, 1)
    return elements // row * -(-row_bytes // _SECTOR) * _SECTOR


def _sizes(shape: str) -> list[int]:
    return [int(n) for n in re.search(r"\[([\d,]*)\]", shape)[1].split(",") if n]


def atomics(ptx: Iterator[str]) -> dict[str, int]:
    """The numbers of atomic instructions: compare-and-swap loops, and additions."""
    counts = {"compare_and_swap": 0, "add": 0}
    for text in ptx:
        counts["compare_and_swap"] += len(_COMPARE_AND_SWAP.findall(text))
        counts["add"] += len(_ATOMIC_ADD.findall(text))
    return counts
