"""The layerwise metric as an optax optimizer: Euler's step along the flow, on the batches that come."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ..._tree import combine, dot, dtype_of, floats, is_traced
from ..._typing import Args, State, Vector
from ...linalg import JoinedRows
from ...loss import Supervised
from ...metric import (
    AbstractModularMetric,
    LayerwiseMetric,
    PerSampleMetric,
    SubsetMetric,
    Sweep,
    gradients_like,
    modular_sweep,
    usable,
)
from ..methods import scaled
from .damping import Damping, LevenbergMarquardt
from .window import Factors, Window

Metric = AbstractModularMetric | SubsetMetric


class LayerwiseState(NamedTuple):
    """The state of `layerwise`.

    Attributes:
        count: how many updates there have been.
        damping: the multiple of the mass and the last ratio of reductions, or `None` for a fixed mass.
        window: the factors of the batches before, or `None`.
    """

    count: Int[Array, ""]
    damping: Damping | None
    window: Factors | None


def layerwise(
    problem: Supervised,
    learning_rate: float | Array | Callable[[Any], Any],
    metric: Metric | None = None,
    *,
    mass: Any = None,
    damping: LevenbergMarquardt | None = None,
    window: Window | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The layerwise natural gradient as an optax optimizer: updates `-h M(params)^-1 gradients`.

    `optimizer.update(gradients, state, params, args=(inputs, targets))` takes the batch for the metric; without `args`
    the problem has data of its own. With a fixed mass and without a window it takes the steps of
    `fm.discretize(fm.GradientFlow(problem, metric), h)`, that is Euler's: bit for bit with gradients given, up to
    rounding with `None`. Give that function a flow with another potential or metric, or for Heun's method; give this
    one batches, schedules and a mass that adapts.

    Gradients are those of `problem`, or what other transformations of a chain made of them. What they have in common
    with the problem's own is pushed through the sweep without cancellation; only their difference is divided by the
    mass. `None` stands for the problem's own, which the sweep has anyway: then no other gradient needs to be computed.
    A regularizer of the problem takes part as any gradient does, but is no part of the metric: with a weight decay `nu`
    the null directions have the rate `nu / mass`, and Euler's step is stable for `h < 2 mass / nu`, so that the mass
    should be at least about `h nu`.

    Args:
        problem: what is trained, with data or for batches that come as `args`.
        learning_rate: `h`, positive, or an optax schedule. Below 1 / layers with the default metric, whose layers each
            remove the whole residual; up to 1 with `fm.FullMetric`.
        metric: `fm.LayerwiseMetric.of(problem, mass=mass)` by default; another one of the family, as
            `fm.FullMetric.of(problem, mass=1e-2)` or `fm.SubsetMetric(metric, samples=64)`.
        mass: that of the default metric, 1 by default.
        damping: `fm.LevenbergMarquardt()` to adapt a multiple of the metric's mass; the state reports it.
        window: `fm.Window(4, example=batch)` for a metric of the last batches.

    Returns:
        An optax transformation, with the state `LayerwiseState`. It works in `optax.chain`, `jit` and `lax.scan`.

    Raises:
        ValueError: if an argument is of another kind or out of range, or `mass` is given beside a metric; by `update`
            if parameters, gradients or batch do not fit.

    Example:
        ```python
        problem = fm.Supervised(net, fm.SoftmaxCrossEntropy())
        optimizer = optax.chain(fm.layerwise(problem, 0.3, mass=1e-2), optax.trace(0.9))
        state = optimizer.init(net)
        updates, state = optimizer.update(jax.grad(problem)(net, batch), state, net, args=batch)
        net = optax.apply_updates(net, updates)
        ```
        A wrapped module may hold functions, which optax refuses as leaves: split them off with
        `params, rest = eqx.partition(net, eqx.is_inexact_array)` and give `params` to `init`, `update` and `grad`.

    Reference: Pehle & Slotine, "Riemannian Optimization in Modular Systems", arXiv:2603.03610.
    """
    metric = _metric(problem, metric, mass)
    _check_options(metric, damping, window)
    made = _Layerwise(problem, metric, _schedule(learning_rate), damping, window)
    return optax.GradientTransformationExtraArgs(made.init, made.update)


class _Layerwise(NamedTuple):
    """The two functions of the transformation, and what they know."""

    problem: Supervised
    metric: Metric
    rate_at: Callable[[Any], Any]
    damping: LevenbergMarquardt | None
    window: Window | None

    def init(self, params: State) -> Any:
        return LayerwiseState(
            jnp.zeros((), jnp.int32),
            None if self.damping is None else self.damping.initial(dtype_of(params)),
            None if self.window is None else self.window.empty(self.metric, params),
        )

    def update(self, updates: Any, state: Any, params: State | None = None, *, args: Args = None, **extra: Any) -> Any:
        del extra  # values and functions for other transformations of a chain
        if params is None:
            raise ValueError(
                "`params` must be given, because the metric depends on them: `update(grads, state, params)`."
            )
        metric = self.metric if state.damping is None else self.metric.damped(state.damping.scale)
        given = None if updates is None else gradients_like(updates, params)
        sweep = modular_sweep(self.problem, metric, params, args)
        covector = sweep.covector if given is None else sweep.given(given)
        factors, kept = sweep.factors, None
        if self.window is not None:
            factors, covector, kept = self.window.joined(state.window, factors, covector, state.count)
        vector = usable(metric.solve(metric.assemble(factors, params), covector))
        rate = jnp.asarray(self.rate_at(state.count)).astype(dtype_of(params))
        step = scaled(-rate, vector, floats(params))
        damping = self._adapted(state, Sweep(sweep.value, sweep.covector, factors), params, step, args)
        return step, LayerwiseState(state.count + 1, damping, kept)

    def _adapted(self, state: LayerwiseState, sweep: Sweep, y: State, step: Vector, args: Args) -> Damping | None:
        rule = self.damping
        if rule is None:
            return None

        def adapt(damping):
            after = self.problem(combine(jax.tree.map(jnp.add, floats(y), step), y), args)
            terms = dot(*(jax.tree.map(jnp.abs, tree) for tree in (sweep.covector.whole, floats(y))))
            return rule.adapted(damping, sweep.value, after, self._predicted(sweep, y, step, args), terms)

        return jax.lax.cond(rule.due(state.count), adapt, lambda damping: damping, state.damping)

    def _predicted(self, sweep: Sweep, y: State, step: Vector, args: Args) -> Float[Array, ""]:
        """By how much the potential falls along a step, in the model of the metric without its mass."""
        parts = self.metric.owners.split(step)
        pushed = JoinedRows(sweep.factors).mv(tuple(leaf for part in parts for leaf in part))
        slope = jax.grad(lambda leaves: self.problem.penalty(leaves, args))
        _, bent = jax.jvp(slope, (floats(y),), (step,))
        return -dot(sweep.covector.whole, step) - (jnp.sum(pushed**2) + dot(step, bent)) / 2


def _metric(problem: Any, metric: Any, mass: Any) -> Metric:
    if not isinstance(problem, Supervised):
        raise ValueError(
            f"`problem` must be a `fm.Supervised`, got {type(problem).__name__}: for any other potential use "
            "`fm.discretize(fm.GradientFlow(potential, metric), h)`."
        )
    if metric is None:
        return LayerwiseMetric.of(problem, mass=1.0 if mass is None else mass)
    if not isinstance(metric, Metric):
        raise ValueError(
            f"`metric` must be a modular metric such as `fm.FullMetric.of(problem)`, got {type(metric).__name__}: with "
            "any other use `fm.discretize(fm.GradientFlow(problem, metric), h)`."
        )
    if mass is not None:
        raise ValueError("`mass` must be left out where a `metric` is given, which has a mass of its own.")
    return metric


def _check_options(metric: Metric, damping: Any, window: Any) -> None:
    if damping is not None and not isinstance(damping, LevenbergMarquardt):
        raise ValueError(
            f"`damping` must be `fm.LevenbergMarquardt()`, got {damping!r}: a fixed mass is the metric's `mass`."
        )
    if window is not None and not isinstance(window, Window):
        raise ValueError(f"`window` must be a `fm.Window(batches, example)`, got {window!r}.")
    inner = metric.metric if isinstance(metric, SubsetMetric) else metric
    if window is not None and isinstance(inner, PerSampleMetric):
        raise ValueError("`window` must be left out with a `fm.PerSampleMetric`, which is no sum over samples.")
    if window is not None and inner.inputs is None and not _is_pair(window.example):
        raise ValueError(
            f"`window` must be `fm.Window({window.batches}, example=batch)`, with a batch (inputs, targets), where the "
            f"problem has no data of its own, got {type(window.example).__name__} for the example."
        )


def _is_pair(example: Any) -> bool:
    return isinstance(example, tuple | list) and len(example) == 2


def _schedule(learning_rate: Any) -> Callable[[Any], Any]:
    if callable(learning_rate):
        return learning_rate
    if not is_traced(learning_rate):
        is_number = np.ndim(learning_rate) == 0 and np.asarray(learning_rate).dtype.kind in "iuf"
        if not is_number or not 0 < float(learning_rate) < math.inf:
            raise ValueError(f"`learning_rate` must be a positive, finite number or a schedule, got {learning_rate!r}.")
    return lambda count: learning_rate
