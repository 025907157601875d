"""Gradients that are given, as an optimizer is: solved with a metric that knows the potential's own gradient."""

import jax

from .._tree import cast_like, floats
from .._typing import Args, Covector, Potential, State, Vector
from ..linalg import Covector as CovectorParts
from ..loss import Supervised
from ._base import AbstractMetric
from ._modular import AbstractModularMetric, usable
from ._sweep import Sweep, shares_sweep, sweep
from .descent import value_and_covector
from .subset import SubsetMetric


def sharp_of_given(potential: Potential, metric: AbstractMetric, y: State, gradients: Covector, args: Args) -> Vector:
    """`M(y)^-1 gradients`, for gradients that as a rule are the potential's own.

    Of a `fm.Supervised` and a modular metric with one module and one data set only what the gradients differ by from
    the sweep's own is solved in full; the rest is pushed through without cancellation.
    """
    if isinstance(potential, Supervised) and isinstance(metric, AbstractModularMetric):
        if shares_sweep(potential, metric):
            found = sweep(potential, metric, y, args)
            operator = metric.assemble(found.factors, y)
            return usable(metric.solve(operator, found.given(gradients_like(gradients, y))))
    return metric.sharp(y, gradients, args)


def modular_sweep(problem: Supervised, metric: AbstractModularMetric | SubsetMetric, y: State, args: Args) -> Sweep:
    """Value, gradient and factors: by one sweep where problem and metric share their data, else by two."""
    if isinstance(metric, AbstractModularMetric) and shares_sweep(problem, metric):
        return sweep(problem, metric, y, args)
    value, covector = value_and_covector(problem, y, args)
    return Sweep(value, CovectorParts(covector, covector), metric.factors(y, args))


def gradients_like(gradients: Covector, y: State) -> Covector:
    """The gradients in the precision of the state.

    Raises:
        ValueError: if they are no tree like the state's float leaves.
    """
    shapes = [[leaf.shape for _, leaf in jax.tree.leaves_with_path(floats(tree))] for tree in (gradients, y)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"`updates` must be gradients like the parameters, of shapes {shapes[1]}, got {shapes[0]}.")
    trees = [jax.tree.structure(floats(tree)) for tree in (gradients, y)]
    if trees[0] != trees[1]:
        raise ValueError(f"`updates` must be gradients like the parameters, in the tree {trees[1]}, got {trees[0]}.")
    return cast_like(floats(gradients), floats(y))
