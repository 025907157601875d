"""What metrics that modules get from their outputs have in common: the sweep, the mass, the solver.

Guide: `docs/guides/the-layerwise-metric.md`.
"""

import abc
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._tree import cast_like, dtype_of, floats, is_traced
from .._typing import Args, State, Vector
from .._typing import Covector as CovectorTree
from ..linalg import (
    AbstractRows,
    Blocks,
    Covector,
    DiagonalPlusGram,
    InnerTolerance,
    LayeredOperator,
    Parts,
    PerSampleOperator,
    Solution,
    blocks_of,
    cheapest,
    smaller_side,
)
from ..loss import (
    AbstractOutputMetric,
    OutputHessian,
    OutputIdentity,
    Supervised,
    as_samples,
    batch_of,
    cast_samples,
    output_metric_of,
)
from ..module import AbstractModule, complete, require_module, shapes_of, template_of
from ._base import AbstractMetric
from ._mass import Mass, mass_by_block
from .trace_mass import TraceMass

Operator = LayeredOperator | PerSampleOperator


class AbstractModularMetric(AbstractMetric):
    """A metric made of the row factors of a module's layers.

    Args:
        module: the module; kept by structure and shapes.
        inputs: the samples, (N, ...); or `None`, for batches that come as `args = (inputs, targets)`.
        output: the metric of the outputs: `fm.OutputIdentity()`, `fm.OutputFisher("categorical")`,
            `fm.OutputHessian(loss, targets)` or `fm.OutputFactor(matrix_or_fn)`.
        mass: `D`: a positive number; a sequence of them, one for each layer with parameters; or a tree like the module
            of positive numbers, or arrays that broadcast to its leaves: (n_out, 1) is a mass by unit; or a rule,
            `fm.TraceMass(fraction)`.
        solver: one of the class's `SOLVERS`.
        tolerance: relative residual of conjugate gradients; by default a hundredth of the integrator's `rtol` in a run.

    Attributes:
        layers: the path of each layer that has a block.

    Raises:
        ValueError: if the mass is not positive or does not fit, or something is no module, metric or solver.
    """

    SOLVERS: eqx.AbstractClassVar[tuple[str, ...]]

    template: PyTree
    inputs: Array | None
    output: AbstractOutputMetric
    mass: Parts | TraceMass
    solver: str = eqx.field(static=True)
    tolerance: InnerTolerance

    def __init__(
        self,
        module: AbstractModule,
        inputs: Any = None,
        output: AbstractOutputMetric | None = None,
        mass: Mass = 1.0,
        solver: str = "auto",
        tolerance: float | None = None,
    ):
        if isinstance(module, Supervised):
            name = type(self).__name__
            raise ValueError(f"`module` must be a module, got a problem: use `fm.{name}.of(problem)`.")
        require_module("module", module)
        if not jax.tree.leaves(shapes_of(template_of(module))):
            raise ValueError(
                f"`module` must have parameters, float arrays, for a metric: {type(module).__name__} has none."
            )
        output = OutputIdentity() if output is None else output
        if not isinstance(output, AbstractOutputMetric):
            raise ValueError(f"`output` must be a metric of outputs, as `fm.OutputIdentity()`, got {output!r}.")
        if solver not in self.SOLVERS:
            raise ValueError(f"`solver` must be one of {', '.join(self.SOLVERS)}, got {solver!r}.")
        is_text = isinstance(tolerance, str)
        if is_text or (tolerance is not None and not is_traced(tolerance) and not 0 < float(tolerance) < 1):
            raise ValueError(f"`tolerance` must be a relative residual between 0 and 1, got {tolerance}.")
        self.template = template_of(module)
        self.inputs = None if inputs is None else as_samples("inputs", inputs)
        self.output = output
        self.mass = mass_by_block(mass, self.owners, shapes_of(self.template))
        self.solver = solver
        self.tolerance = InnerTolerance(None if tolerance is None else jnp.asarray(tolerance))

    @classmethod
    def of(
        cls,
        problem: Supervised,
        output: AbstractOutputMetric | None = None,
        mass: Mass = 1.0,
        solver: str = "auto",
        tolerance: float | None = None,
    ) -> Self:
        """The metric for a problem's module on its data, in the metric of outputs that its loss brings along.

        With the potential and the metric of one problem, value, gradient and descent come from one sweep.
        """
        if not isinstance(problem, Supervised):
            raise ValueError(f"`problem` must be a `fm.Supervised`, got {type(problem).__name__}.")
        output = output_metric_of(problem.loss) if output is None else output
        if isinstance(output, OutputHessian) and output.targets is None and problem.targets is not None:
            output = OutputHessian(output.loss, problem.targets)
        return cls(problem.template, problem.inputs, output, mass, solver, tolerance)

    @property
    def layers(self) -> tuple[str, ...]:
        return self.owners.names

    @property
    def owners(self) -> Blocks:
        return blocks_of(shapes_of(self.template))

    def factors(self, y: State, args: Args = None) -> tuple[AbstractRows, ...]:
        """The row factor `K_a` of each layer, scaled by `1/sqrt N`; `.to_dense()` is the matrix, (R, P_a)."""
        inputs, targets = batch_of(self.inputs, None, args)
        module = complete(self.template, y)
        outputs, pull = module.linearise(cast_samples(inputs, module))
        return self.pulled(pull, outputs, targets)

    def pulled(self, pull, outputs: Float[Array, "N ..."], targets: Any) -> tuple[AbstractRows, ...]:
        """The factors from a sweep that is under way: the output metric's rows, pulled back."""
        return pull(self.output.rows(outputs, targets) * outputs.shape[0] ** -0.5)[0]

    def __call__(self, y: State, args: Args = None) -> Operator:
        return self.assemble(self.factors(y, args), y)

    @abc.abstractmethod
    def assemble(self, factors: tuple[AbstractRows, ...], y: State) -> Operator:
        """The operator made of the factors of the layers."""

    @abc.abstractmethod
    def solve(self, operator: Operator, covector: Covector) -> Solution:
        """`M^-1 covector` with its true residual for each block, converged or not."""

    def flat(self, y: State, vector: Vector, args: Args = None) -> CovectorTree:
        return self(y, args).mv(_like("vector", vector, y))

    def sharp(self, y: State, covector: CovectorTree, args: Args = None) -> Vector:
        given = _like("covector", covector, y)
        return usable(self.solve(self(y, args), Covector(given, given)))

    def at(self, t) -> Self:
        return self

    def damped(self, factor: Any) -> Self:
        """The same metric with its mass times a factor."""
        mass = jax.tree.map(lambda entry: jnp.asarray(factor).astype(entry.dtype) * entry, self.mass)
        return eqx.tree_at(lambda metric: metric.mass, self, mass)

    def mass_at(self, factors: tuple[AbstractRows, ...], y: State) -> Parts:
        """The mass by block and leaf, in the precision of the state."""
        dtype = dtype_of(y)
        if dtype.itemsize < 4:
            raise ValueError(
                f"`y` must be in float32 or float64 for a metric, got {dtype}: cast it with `.astype(jnp.float32)`."
            )
        if isinstance(self.mass, TraceMass):
            return self.mass.by_block(factors, dtype)
        return tuple(tuple(entry.astype(dtype) for entry in part) for part in self.mass)


class AbstractRowMetric(AbstractModularMetric):
    """A modular metric with blocks `D + K^T K`."""

    def solve(self, operator: LayeredOperator, covector: Covector) -> Solution:
        return operator.solve(covector, self.solvers(operator), self.tolerance.at(dtype_of(covector.whole)))

    def solvers(self, operator: LayeredOperator) -> tuple[str, ...]:
        """How each block is solved."""
        choose = {"auto": cheapest, "direct": smaller_side}.get(self.solver, lambda rows, mass: self.solver)
        return tuple(choose(block.rows, block.diagonal) for block in operator.operators)


def row_operator(factors: tuple[AbstractRows, ...], mass: Parts, blocks: Blocks, y: State) -> LayeredOperator:
    """The operator with one block `D + K^T K` for each factor."""
    operators = tuple(DiagonalPlusGram(factor, part) for factor, part in zip(factors, mass, strict=True))
    return LayeredOperator(operators, blocks, floats(y))


def usable(solution: Solution) -> Vector:
    """The value of a solve that converged; NaN for one that did not, so that no run goes on with it."""
    fault = jnp.where(solution.converged, 1, jnp.nan)
    return jax.tree.map(lambda leaf: leaf * fault.astype(leaf.dtype), solution.value)


def _like(argument: str, tree: Vector, y: State) -> Vector:
    given, wanted = floats(tree), floats(y)
    shapes = [[leaf.shape for leaf in jax.tree.leaves(part)] for part in (given, wanted)]
    if jax.tree.structure(given) != jax.tree.structure(wanted) or shapes[0] != shapes[1]:
        raise ValueError(f"`{argument}` must be a tree like the state's float leaves, {shapes[1]}, got {shapes[0]}.")
    return cast_like(given, wanted)
