"""How modules hang together: what each wire carries, and the field of the whole."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._tree import dtype_of, is_float_array, is_traced, ravel, size, unraveler
from .dynamical import Dynamical, fits, layout, shown


class Wire(eqx.Module):
    """The output of module `source`, through a gain, into the input of module `target`."""

    target: int = eqx.field(static=True)
    source: int = eqx.field(static=True)
    gain: Any  # a scalar or an (m, n) array, or a function of the output

    def carry(self, output: PyTree, port: PyTree | None) -> PyTree:
        """What arrives at the target, in the tree of its port where that is known."""
        if callable(self.gain):
            return self.gain(output)
        if self.gain.ndim == 0:
            return jax.tree.map(lambda leaf: self.gain.astype(leaf.dtype) * leaf, output)
        numbers = ravel(output)
        if self.gain.shape[1] != numbers.size:
            raise ValueError(f"a gain of shape {self.gain.shape} does not fit an output of shape {shown(output)}")
        arrived = self.gain.astype(numbers.dtype) @ numbers
        if takes_anything(port):
            return arrived
        like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, numbers.dtype), port)
        return unraveler(like)(arrived) if size(like) == arrived.size else arrived


class Modules(eqx.Module):
    """Modules side by side: their states are a tuple, or a dict if all of them have names."""

    members: tuple[Dynamical, ...]

    def __init__(self, members: Sequence[Any]):
        self.members = tuple(members)
        for place, member in enumerate(self.members):
            if not isinstance(member, Dynamical):
                raise ValueError(
                    f"Module {place} must be a `fm.Dynamical`, got {type(member).__name__}. Wrap a flow as "
                    "`fm.Dynamical(lambda t, x, u, args: flow.vector_field(t, x, args) + u, flow.metric)`."
                )
        if not self.members:
            raise ValueError("A system needs at least one module, got none.")
        if self.named and len({member.name for member in self.members}) != len(self.members):
            names = [member.name for member in self.members]
            raise ValueError(f"The names of modules must differ, got {names}: give another `name=` to one of them.")

    @property
    def named(self) -> bool:
        return all(member.name is not None for member in self.members)

    def label(self, place: int) -> str:
        name = self.members[place].name
        return f"module {place}" if name is None else f"module '{name}'"

    def index(self, key: Any) -> int:
        names = [member.name for member in self.members]
        if isinstance(key, str) and key in names:
            return names.index(key)
        if isinstance(key, int | np.integer) and 0 <= key < len(names):
            return int(key)
        raise ValueError(f"`couplings` names the module {key!r}, but there are {names if self.named else len(names)}.")

    def join(self, parts: Sequence[Any]) -> Any:
        """One thing for each module in the tree of the joint state."""
        if self.named:
            return {member.name: part for member, part in zip(self.members, parts, strict=True)}
        return tuple(parts)

    def split(self, tree: Any, what: str = "state") -> list[Any]:
        """The reverse of `join`."""
        names = [member.name for member in self.members]
        if self.named and isinstance(tree, dict) and set(tree) == set(names):
            return [tree[name] for name in names]
        if not self.named and type(tree) is tuple and len(tree) == len(names):
            return list(tree)
        wanted = f"dict with the keys {names}" if self.named else f"tuple of {len(names)}"
        raise ValueError(f"The {what} of this system is a {wanted}, one for each module, got {shown(tree)}.")


class Wiring(eqx.Module):
    """The field `fn(t, x, u, args)` of a system of modules.

    `u` has a part for each module, or, for a chain, is that of its first module.
    """

    modules: Modules
    wires: tuple[Wire, ...]
    chain: bool = eqx.field(static=True)

    def __call__(self, t, x, u, args):
        members, states = self.modules.members, self.modules.split(x)
        nothing = [None] * (len(members) - 1)
        outside = [u, *nothing] if self.chain else self.modules.split(u, "input")
        sources = {wire.source for wire in self.wires}
        outputs = {source: members[source].output(t, states[source], args) for source in sources}
        incoming: list[list[Wire]] = [[] for _ in members]
        for wire in self.wires:
            incoming[wire.target].append(wire)
        velocities = []
        for place, (member, state, wires) in enumerate(zip(members, states, incoming, strict=True)):
            arrived = [self.arrival(wire, outputs[wire.source]) for wire in wires]
            try:
                total = _sum([part for part in (*arrived, outside[place]) if part is not None], dtype_of(state))
                velocities.append(member.drive(t, state, total, args))
            except (TypeError, ValueError) as error:
                # A port without an example can't be checked: what its function says about the shape is all there is.
                if member.input is not None or not wires:
                    raise
                came = [
                    f"{shown(part)} from {self.modules.label(w.source)}" for w, part in zip(wires, arrived, strict=True)
                ]
                raise ValueError(
                    f"{self.modules.label(place)} with a state of shape {shown(state)} can't take what is wired to its "
                    f"input, {' and '.join(came)}: {str(error).rstrip('.')}. Change the gain, or say what the port "
                    "takes by `input=`."
                ) from error
        return self.modules.join(velocities)

    def arrival(self, wire: Wire, output: PyTree) -> PyTree:
        """What a wire carries to its target, checked against the port's example."""
        port = self.modules.members[wire.target].input
        source, target = self.modules.label(wire.source), self.modules.label(wire.target)
        try:
            arrived = wire.carry(output, port)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The output of {source}, of shape {shown(output)}, can't pass to {target}: {str(error).rstrip('.')}."
            ) from error
        if not fits(arrived, port):
            through = "" if layout(arrived) == layout(output) else f", which its gain makes {shown(arrived)}"
            raise ValueError(
                f"The output of {source} has the shape {shown(output)}{through}, but the input of {target} has the "
                f"shape {shown(port)}. Put a gain between them: {_cure(output, port)}."
            )
        return arrived

    def check(self) -> None:
        """Check the ports whose shapes are known before anything runs."""
        for wire in self.wires:
            source = self.modules.members[wire.source]
            if source.state is not None:
                try:
                    output = jax.eval_shape(lambda state, source=source: source.output(0.0, state), source.state)
                except Exception:  # an output that needs `args` is known when it runs
                    continue
                jax.eval_shape(lambda output, wire=wire: self.arrival(wire, output), output)


class Outputs(eqx.Module):
    """The output of a system: a part for each module, or, for a chain, that of its last module."""

    modules: Modules
    chain: bool = eqx.field(static=True)

    def __call__(self, t, x, args):
        states = self.modules.split(x)
        if self.chain:
            return self.modules.members[-1].output(t, states[-1], args)
        pairs = zip(self.modules.members, states, strict=True)
        return self.modules.join([member.output(t, state, args) for member, state in pairs])


def wires_of(modules: Modules, couplings: Any) -> tuple[Wire, ...]:
    """The wires of a table `couplings[i][j]`, or of a mapping `{(i, j): gain}`, of what `j` does to `i`."""
    if isinstance(couplings, Mapping):
        entries = [(_pair(key), gain) for key, gain in couplings.items()]
        wires = tuple(
            Wire(modules.index(i), modules.index(j), as_gain(f"couplings[{i!r}, {j!r}]", g)) for (i, j), g in entries
        )
        pairs = Counter((wire.target, wire.source) for wire in wires)
        for (i, j), _ in entries:
            if pairs[modules.index(i), modules.index(j)] > 1:
                raise ValueError(
                    f"`couplings` has more than one gain of {modules.label(modules.index(j))} into "
                    f"{modules.label(modules.index(i))}: give their sum, under one key."
                )
        return wires
    n = len(modules.members)
    rows = [list(row) for row in couplings] if _is_table(couplings) else []
    if [len(row) for row in rows] != [n] * n:
        raise ValueError(
            f"`couplings` must be a table of {n} rows with {n} entries, one for each module, or a dict "
            "{(target, source): gain}."
        )
    return tuple(
        Wire(i, j, as_gain(f"couplings[{i}][{j}]", gain))
        for i, row in enumerate(rows)
        for j, gain in enumerate(row)
        if gain is not None and not (np.ndim(gain) == 0 and not callable(gain) and not is_traced(gain) and gain == 0)
    )


def as_gain(argument: str, gain: Any) -> Any:
    """A number or a matrix as a float array; a function as it is."""
    if callable(gain):
        return gain
    try:
        array = jnp.asarray(None if isinstance(gain, str) else gain)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{argument}` must be a number, a matrix or a function of the output, got {gain!r}."
        ) from error
    if array.ndim not in (0, 2) or jnp.iscomplexobj(array) or not (is_traced(array) or bool(jnp.isfinite(array).all())):
        raise ValueError(
            f"`{argument}` must be a finite number, a matrix (input numbers, output numbers) or a function of the "
            f"output, got {gain!r}."
        )
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def takes_anything(port: PyTree | None) -> bool:
    """Whether a port has a part whose shape is not known."""
    return any(place is None for place in jax.tree.leaves(port, is_leaf=lambda node: node is None))


def _cure(output: PyTree, port: PyTree) -> str:
    if takes_anything(port):
        return "a function that returns such a tree, with anything in the place of `None`"
    return f"a matrix of shape ({size_of(port)}, {size_of(output)}), or a function"


def size_of(tree: PyTree) -> int:
    """How many numbers a tree of shapes holds."""
    return sum(int(np.prod(getattr(leaf, "shape", ()))) for leaf in jax.tree.leaves(tree))


def _sum(parts: list[PyTree], dtype: np.dtype) -> PyTree | None:
    """What arrives at one module, in the precision of its state: modules may differ in it."""
    if not parts:
        return None
    parts = jax.tree.map(lambda leaf: leaf.astype(dtype) if is_float_array(leaf) else leaf, parts)
    return jax.tree.map(lambda *leaves: sum(leaves[1:], start=leaves[0]), *parts)


def _pair(key: Any) -> tuple[Any, Any]:
    if not (isinstance(key, tuple) and len(key) == 2):
        raise ValueError(f"The keys of `couplings` must be pairs (target, source), got {key!r}.")
    return key


def _is_table(couplings: Any) -> bool:
    return isinstance(couplings, Sequence | np.ndarray | jax.Array) and all(
        isinstance(row, Sequence | np.ndarray | jax.Array) and not isinstance(row, str) for row in couplings
    )
