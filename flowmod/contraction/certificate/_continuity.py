"""Where a program may jump: a derivative does not see it, so neither the mean value theorem nor a rate may be used."""

from functools import lru_cache

from ._builder import Builder
from ._program import Program

_COMPARISONS = ("lt", "le", "eq")


@lru_cache(maxsize=16)
def jumps_of(program: Program) -> frozenset[int]:
    """The nodes that a program jumps with: it is continuous on a box, if it is defined, where each of them is constant.

    These are the conditions of `select`s between values that may differ, and comparisons that are used as numbers. A
    `select` by a comparison does not jump if both branches become the same where one side is put in for the other: so
    `where(x > 0, x, 0.1 x)` has a kink only, and `where(x > 0, x, 1 - x)` jumps.
    """
    builder = Builder(program.inputs)
    nodes = list(range(program.inputs))
    jumps, numbers = set(), set(program.outputs)
    for name, operands, parameter in program.operations:
        made = [nodes[operand] for operand in operands]
        nodes.append(builder.again(name, made, parameter))
        numbers.update(operands[1:] if name == "select" else operands)
        if name == "select" and not _meet(builder, *made):
            jumps.add(operands[0])
    operations = enumerate(program.operations, start=program.inputs)
    return frozenset(jumps | {node for node, (name, *_) in operations if name in _COMPARISONS and node in numbers})


def _meet(builder: Builder, condition: int, if_false: int, if_true: int) -> bool:
    """Whether both branches are the same on the surface where the condition changes."""
    if builder.value(condition) is not None:
        return True
    name, operands, _ = builder.operation(condition)
    if name not in _COMPARISONS:
        return False
    # The later one is replaced, so that it is not put into itself; a number replaces whatever it is compared with.
    kept, replaced = sorted(operands)
    if builder.value(replaced) is not None:
        kept, replaced = replaced, kept
    return builder.with_equal(if_false, replaced, kept) == builder.with_equal(if_true, replaced, kept)
