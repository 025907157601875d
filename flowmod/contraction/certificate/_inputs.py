"""What the outputs of a program depend on, and programs of other outputs or inputs, and of one another."""

from collections.abc import Iterable, Sequence

from ._builder import Builder
from ._continuity import jumps_of
from ._program import Operation, Program


def used_inputs(program: Program) -> set[int]:
    """The inputs that an output may depend on."""
    nodes = {*program.outputs, *(node for operation in program.operations for node in operation.operands)}
    return {node for node in nodes if node < program.inputs}


def without_last_input(program: Program) -> Program:
    """The same program without its last input, which nothing uses."""
    last = program.inputs - 1

    def moved(nodes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(node - (node > last) for node in nodes)

    operations = tuple(operation._replace(operands=moved(operation.operands)) for operation in program.operations)
    return Program(last, operations, moved(program.outputs))


def with_outputs(program: Program, outputs: tuple[int, ...]) -> Program:
    """The operations that these nodes need."""
    needed = _below(program, outputs)
    number = {node: node for node in range(program.inputs)}
    number |= {node: program.inputs + index for index, node in enumerate(needed)}
    operations = tuple(
        operation._replace(operands=tuple(number[operand] for operand in operation.operands))
        for operation in (_operation(program, node) for node in needed)
    )
    return Program(program.inputs, operations, tuple(number[node] for node in outputs))


def composed(outer: Program, inner: Program) -> Program:
    """`outer(inner(x))`."""
    builder = Builder(inner.inputs)
    between = _again(builder, inner, range(inner.inputs))
    return builder.program(_again(builder, outer, between))


def same(first: Program, second: Program) -> bool:
    """Whether two programs of the same inputs are seen to be one function; forms that differ may still be equal."""
    builder = Builder(first.inputs)
    return _again(builder, first, range(first.inputs)) == _again(builder, second, range(first.inputs))


def vanishes(program: Program, outputs: Iterable[int]) -> bool:
    """Whether some outputs are the constant 0."""
    nodes = [program.outputs[output] for output in outputs]
    made = [_operation(program, node) for node in nodes if node >= program.inputs]
    return len(made) == len(nodes) and all(node.name == "constant" and node.parameter == 0 for node in made)


def jump_conditions(program: Program, outputs: Iterable[int]) -> tuple[int, ...]:
    """The nodes that have to be constant on a box for these outputs to be surely continuous there."""
    nodes = tuple(program.outputs[output] for output in outputs)
    below = _below(program, nodes)
    # Other outputs may use a condition as a number, which is no jump of these.
    jumps = sorted(below[node - program.inputs] for node in jumps_of(with_outputs(program, nodes)))
    found = ((node, _operation(program, node)) for node in jumps)
    return tuple(dict.fromkeys(made.operands[0] if made.name == "select" else node for node, made in found))


def _again(builder: Builder, program: Program, inputs: Sequence[int]) -> list[int]:
    """The outputs of a program on nodes of a builder."""
    nodes = list(inputs)
    for name, operands, parameter in program.operations:
        nodes.append(builder.again(name, [nodes[operand] for operand in operands], parameter))
    return [nodes[node] for node in program.outputs]


def _operation(program: Program, node: int) -> Operation:
    return program.operations[node - program.inputs]


def _below(program: Program, nodes: Iterable[int]) -> list[int]:
    """The operations that nodes depend on, in order."""
    found, stack = set(), list(nodes)
    while stack:
        node = stack.pop()
        if node >= program.inputs and node not in found:
            found.add(node)
            stack += _operation(program, node).operands
    return sorted(found)
