"""The layerwise metric: the recursion `L_{a-1} = L_a A_a`, `K_a = L_a B_a`, `G_a = D_a + K_a^T K_a`.

Guide: `docs/guides/the-layerwise-metric.md`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._tree import cast_like, dtype_of, floats, is_traced
from .._typing import Args, Covector, State, Vector
from ..linalg import AbstractRows, Blocks, InnerTolerance, LayeredOperator, Parts, Solution, blocks_of
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

MOST_ROWS = 1000
"""Rows up to which a Cholesky factorisation is faster than conjugate gradients: measured at R = 1,000 to 1,300."""

SOLVERS = ("auto", "direct", "conjugate_gradients")


class LayerwiseMetric(AbstractMetric):
    """The metric that a module's layers get from the metric of its outputs: block-diagonal, one block per layer.

    `G_a = D_a + K_a^T K_a`, where the rows of `K_a` are the derivatives of the outputs, measured in the output metric,
    with respect to the parameters of layer `a`. It is the block diagonal of the generalised Gauss-Newton matrix, plus
    a mass; it is not the Hessian, nor the empirical Fisher information. With `N` samples of `C` rows it is the mean
    over samples, as losses are. No matrix is formed: a solve factorises `I + K D^-1 K^T`, or iterates on products with
    `K`.

    The state is the module. Each layer alone removes the whole residual when the mass is small, so that an Euler step
    overshoots by the number of layers: take steps below 1 / layers, or search along the line.

    Args:
        module: the module; kept by structure and shapes.
        inputs: the samples, (N, ...); or `None`, for batches that come as `args = (inputs, targets)`.
        output: the metric of the outputs: `fm.OutputIdentity()`, `fm.OutputFisher("categorical")`,
            `fm.OutputHessian(loss, targets)` or `fm.OutputFactor(matrix_or_fn)`.
        mass: `D`: a positive number; a sequence of them, one for each layer with parameters; or a tree of positive
            numbers or arrays like the module.
        solver: `"direct"`, by Cholesky on the side of the rows; `"conjugate_gradients"`; or `"auto"`, the first for up
            to 1,000 rows `N C`.
        tolerance: relative residual of conjugate gradients; by default a hundredth of the integrator's `rtol` in a run.

    Attributes:
        layers: the path of each layer that has a block.

    Raises:
        ValueError: if the mass is not positive or does not fit, or something is no module, metric or solver.

    Reference: Pehle & Slotine, "Riemannian Optimization in Modular Systems", arXiv:2603.03610.
    """

    template: PyTree
    inputs: Array | None
    output: AbstractOutputMetric
    mass: Parts
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
            raise ValueError("`module` must be a module, got a problem: use `fm.LayerwiseMetric.of(problem)`.")
        require_module("module", module)
        output = OutputIdentity() if output is None else output
        if not isinstance(output, AbstractOutputMetric):
            raise ValueError(f"`output` must be a metric of outputs, as `fm.OutputIdentity()`, got {output!r}.")
        if solver not in SOLVERS:
            raise ValueError(f"`solver` must be one of {', '.join(SOLVERS)}, got {solver!r}.")
        is_text = isinstance(tolerance, str)
        if is_text or (tolerance is not None and not is_traced(tolerance) and not 0 < float(tolerance) < 1):
            raise ValueError(f"`tolerance` must be a relative residual between 0 and 1, got {tolerance}.")
        self.template = template_of(module)
        self.inputs = None if inputs is None else as_samples("inputs", inputs)
        self.output = output
        self.mass = mass_by_block(mass, self.blocks, shapes_of(self.template))
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
    ) -> "LayerwiseMetric":
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
        return self.blocks.names

    @property
    def blocks(self) -> Blocks:
        return blocks_of(shapes_of(self.template))

    def factors(self, y: State, args: Args = None) -> tuple[AbstractRows, ...]:
        """The row factor `K_a` of each layer, scaled by `1/sqrt N`; `.to_dense()` is the matrix, (N C, P_a)."""
        return self(y, args).factors

    def __call__(self, y: State, args: Args = None) -> LayeredOperator:
        inputs, targets = batch_of(self.inputs, None, args)
        module = complete(self.template, y)
        outputs, pull = module.linearise(cast_samples(inputs, module))
        return self.operator(pull, outputs, targets, y)

    def operator(self, pull, outputs: Float[Array, "N ..."], targets: Any, y: State) -> LayeredOperator:
        """The operator from a sweep that is under way: the output metric's rows, pulled back."""
        rows = self.output.rows(outputs, targets) * outputs.shape[0] ** -0.5
        factors, _ = pull(rows)
        dtype = dtype_of(y)
        mass = tuple(tuple(entry.astype(dtype) for entry in part) for part in self.mass)
        return LayeredOperator(factors, mass, self.blocks, floats(y))

    def flat(self, y: State, vector: Vector, args: Args = None) -> Covector:
        return self(y, args).mv(_like("vector", vector, y))

    def sharp(self, y: State, covector: Covector, args: Args = None) -> Vector:
        return usable(self.solve(self(y, args), _like("covector", covector, y)))

    def solve(
        self, operator: LayeredOperator, covector: Covector, residual: Float[Array, "N C"] | None = None
    ) -> Solution:
        """`M^-1 (covector + K^T residual)` with its true residual for each layer, converged or not."""
        if self.iterates(operator):
            whole = covector if residual is None else operator.add_rows(covector, residual)
            return operator.conjugate_gradients(whole, self.tolerance.at(dtype_of(covector)))
        return operator.direct(covector, residual)

    def iterates(self, operator: LayeredOperator) -> bool:
        """Whether a solve is by conjugate gradients."""
        return self.solver == "conjugate_gradients" or (self.solver == "auto" and operator.rows > MOST_ROWS)

    def at(self, t) -> "LayerwiseMetric":
        return self


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
