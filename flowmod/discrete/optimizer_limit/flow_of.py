"""The other way round: the flow that an optimizer is the discretisation of."""

from typing import Any

import optax

from ..._tree import as_state, require_arguments
from ..._typing import Potential, State
from .check import check_whole
from .clock import Clock, check_clock, check_updates
from .flows import flow_along
from .groups import routes_of
from .limit import OptimizerLimit
from .lines import Lines
from .nodes import Discretized, Node, elements, has_groups
from .recognise import recognise
from .reduce import line_of, reference_rate, require_descent


def flow_of(
    optimizer: optax.GradientTransformation,
    potential: Potential,
    like: State | None = None,
    *,
    memory: bool = False,
    clock: Any = None,
    updates: int | None = None,
) -> OptimizerLimit:
    """The continuous limit of an optax optimizer, as its learning rate goes to zero.

    Known are `optax.sgd` (plain, heavy ball, Nesterov), `ema`, `rmsprop`, `adam`, `nadam`, `adamw` and whatever else is
    chained of `trace`, `ema`, `scale_by_rms`, `scale_by_adam`, `add_decayed_weights`, `scale`, `scale_by_schedule`,
    `scale_by_learning_rate`, `set_to_zero` and `identity`, for groups of leaves too (`optax.partition`,
    `optax.masked`), and what `fm.discretize` makes. Each element is recognised by what optax's closures hold, and then
    checked by its updates on probing gradients; all others are reported by name and position, never guessed.

    There are two limits. The learning rate alone may go to zero: the averages then see a gradient that stands still,
    and the state is the parameters' own.

    - gradient descent and EMA: `y' = -g`; heavy ball and Nesterov `y' = -g / (1 - beta)`
    - RMSProp and Adam: `y' = -g / (sqrt(g^2 + eps_root) + eps)`, a gradient flow in a diagonal metric
    - weight decay after it: `y' = ... - decay y`, which is no gradient flow in that metric; before it, it is part of
      the potential

    With `memory=True` the averages keep their memory in units of time, `tau = (time of an update) / (1 - beta)`, as if
    `beta` went to 1 with the time of an update to zero: heavy ball, EMA and Nesterov become `tau y'' + y' = -g`, an
    `InertialFlow`, RMSProp and Adam a flow of the parameters and the averages, with bias correction where the optimizer
    has it.

    Time is the sum of the learning rates: iterate `n` is at `limit.time(n)`, which is `n h` without a schedule. A
    heavy ball with `memory=True` takes the time `h / (1 - beta)` for an update, since `g / (1 - beta)` would be
    infinite in the limit: its `tau`, and Nesterov's, is `h / (1 - beta)^2`, and that of an EMA `h / (1 - beta)`. If
    groups have rates of their own, the clock is that of the first leaf that moves, and the
    others are faster or slower by the ratio. Adam's flow is stiff where a gradient is of the size of `eps`.

    Args:
        optimizer: the optax transformation, with its learning rate and its sign: updates are added.
        potential: the loss `f(y, args)`.
        like: a state, of which the structure, the shapes and the dtypes are used: needed where the optimizer has
            groups of leaves. Masks may look at these, and not at values: optax shows them the parameters first and
            the gradients later.
        memory: whether averages keep their memory.
        clock: the time of one update, a number or a schedule, if it should not be the learning rate.
        updates: how many updates the flow is for. Needed where a number changes with time on the clock, as with groups
            of different schedules: it is tabulated so far, and NaN later.

    Returns:
        An `OptimizerLimit`, a flow for `fm.simulate` and the like. `.flow` is the `GradientFlow`, `VectorField` or
        `InertialFlow` itself, `.time(n)` the clock, and `.start(y0)` the state to start with.

    Raises:
        ValueError: if `optimizer` is no optax transformation, has unknown elements, has no learning rate or climbs
            the potential, if its elements do not do what their names say, or if `like` or `updates` is missing.

    Example:
        ```python
        limit = fm.flow_of(optax.adam(1e-3, eps=1e-3), potential)
        trajectory = fm.simulate(limit, y0, t1=limit.time(1000))
        ```

    Reference: A. Barakat and P. Bianchi, "Convergence and dynamical behavior of the ADAM algorithm for nonconvex
    stochastic optimization" (2021); B. T. Polyak, "Some methods of speeding up the convergence of iteration methods"
    (1964).
    """
    require_arguments("potential", potential, ("y", "args"))
    like = None if like is None else as_state("like", like)
    updates, given = check_updates(updates), None if clock is None else check_clock(clock)
    node = recognise(optimizer)
    steps = [element for element in elements(node) if isinstance(element, Discretized)]
    if steps:
        _require_alone(steps[0], node, potential)
        if memory or given is not None:
            raise ValueError(
                "`memory` and `clock` must be left out with `fm.discretize`: its flow and its step size are given "
                "already. For a momentum that lasts discretise a `fm.InertialFlow`."
            )
        return OptimizerLimit(steps[0].flow, steps[0].duration)
    routes = routes_of(node, like)
    if routes.structure is not None:
        check_whole(optimizer, routes, like)
    require_descent(routes)
    timing = Clock(reference_rate(routes, memory) if given is None else given, updates)
    lines = tuple(line_of(route, timing, memory) for route in routes.routes)
    return OptimizerLimit(flow_along(Lines(potential, lines, routes.structure)), timing.rate)


def _require_alone(step: Discretized, node: Node, potential: Potential) -> None:
    others = [element for element in elements(node) if element is not step and element.name != "optax.identity"]
    if others or has_groups(node):
        beside = f"{others[0]} beside" if others else "groups of leaves around"
        raise ValueError(
            f"`optimizer` has {beside} {step}, and no flow is known for both: take what `fm.discretize` made alone."
        )
    own = step.flow.potential
    if not (own is potential or own == potential):  # a method of an object is another object each time
        raise ValueError(
            f"`potential` must be that of the flow that {step} discretises, `flow.potential`, got another function."
        )
