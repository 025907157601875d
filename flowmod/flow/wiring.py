"""Systems of modules: in series, side by side, in a loop, or in any network. Each one is a module again."""

from typing import Any

from ..metric import BlockMetric, Euclidean
from ._base import Units
from ._wires import Modules, Outputs, Wire, Wiring, as_gain, wires_of
from .dynamical import Dynamical


def cascade(a: Dynamical, b: Dynamical, gain: Any = 1.0, *, name: str | None = None) -> Dynamical:
    """Module `a` drives module `b`. The input of the whole is that of `a`, its output that of `b`.

    Args:
        a: the driving module.
        b: the driven one.
        gain: how the output of `a` enters `b`: a number, a matrix (numbers of the input, numbers of the output) or a
            function of the output.
        name: a name for the whole.

    Returns:
        The system, a `Dynamical`. Its state is the tuple of the modules' states, a dict by name if all modules have
        one; its metric is the `BlockMetric` of theirs, the Euclidean one where a module has none.

    Raises:
        ValueError: if `a` or `b` is no `Dynamical`, or their ports don't match: with both names and shapes, at once
            where the shapes are known, else when it runs.
    """
    modules = Modules((a, b))
    return _system(modules, (Wire(1, 0, as_gain("gain", gain)),), name, chain=True)


def independent(*modules: Dynamical, name: str | None = None) -> Dynamical:
    """Modules side by side that do not see each other. Input and output have a part for each.

    Args:
        *modules: the modules.
        name: a name for the whole.

    Returns:
        The system, as `fm.cascade` describes it.

    Raises:
        ValueError: if one is no `Dynamical`, or two have one name.
    """
    return _system(Modules(modules), (), name)


def feedback(a: Dynamical, b: Dynamical, gain_ab: Any, gain_ba: Any, *, name: str | None = None) -> Dynamical:
    """Two modules that drive each other. Input and output have a part for each.

    Args:
        a: a module.
        b: another one.
        gain_ab: how the output of `b` enters `a`, as `gains[a][b]` of `fm.compose`: a number, a matrix (numbers of the
            input, numbers of the output) or a function of the output.
        gain_ba: how the output of `a` enters `b`.
        name: a name for the whole.

    Returns:
        The system, as `fm.cascade` describes it.

    Raises:
        ValueError: if `a` or `b` is no `Dynamical`, or their ports don't match.
    """
    wires = (Wire(0, 1, as_gain("gain_ab", gain_ab)), Wire(1, 0, as_gain("gain_ba", gain_ba)))
    return _system(Modules((a, b)), wires, name)


def network(modules: Any, couplings: Any, *, name: str | None = None) -> Dynamical:
    """Any number of modules, wired in any way. Input and output have a part for each.

    What several wires and the outside bring to one input is added up. Outputs do not depend on inputs, so that every
    loop passes through a state.

    Args:
        modules: the modules, N of them.
        couplings: `couplings[i][j]` is how the output of `j` enters `i`: a number, a matrix (numbers of the input,
            numbers of the output) or a function of the output, `None` or 0 for no wire. Where few are wired, a dict
            `{(i, j): gain}` of indices or names.
        name: a name for the whole.

    Returns:
        The system, as `fm.cascade` describes it.

    Raises:
        ValueError: if one is no `Dynamical`, two have one name, the table has another shape, or ports don't match.

    Example:
        ```python
        ring = fm.network([a, b, c], {(1, 0): 0.5, (2, 1): 0.5, (0, 2): -2.0})
        fm.contraction_rate(ring.weighted(fm.compose.network(rates, gains).weights), y)
        ```
    """
    members = Modules(modules)
    return _system(members, wires_of(members, couplings), name)


def _system(modules: Modules, wires: tuple[Wire, ...], name: str | None, chain: bool = False) -> Dynamical:
    members = modules.members
    wiring = Wiring(modules, wires, chain)
    wiring.check()
    states = [member.state for member in members]
    ports = [member.input for member in members]
    return Dynamical(
        wiring,
        BlockMetric(modules.join([Euclidean() if member.metric is None else member.metric for member in members])),
        output=Outputs(modules, chain),
        input=ports[0] if chain else modules.join(ports),
        state=None if any(state is None for state in states) else modules.join(states),
        name=name,
        units=_units(modules),
    )


def _units(modules: Modules) -> Units:
    """Labels with the module before them; the time is that of all modules that agree."""
    members = modules.members
    times = {dict(member.units).get("time") for member in members}
    units = [("time", time) for time in times if len(times) == 1 and time is not None]
    for place, member in enumerate(members):
        key = str(place) if member.name is None or not modules.named else member.name
        units += [(key if label == "y" else f"{key}.{label}", unit) for label, unit in member.units if label != "time"]
    return tuple(units)
