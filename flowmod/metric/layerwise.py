"""The layerwise metric: the recursion `L_{a-1} = L_a A_a`, `K_a = L_a B_a`, `G_a = D_a + K_a^T K_a`.

Guide: `docs/guides/the-layerwise-metric.md`.
"""

from .._typing import State
from ..linalg import AbstractRows, LayeredOperator
from ._modular import AbstractRowMetric, row_operator


class LayerwiseMetric(AbstractRowMetric):
    """The metric that a module's layers get from the metric of its outputs: block-diagonal, one block per layer.

    `G_a = D_a + K_a^T K_a`, where the rows of `K_a` are the derivatives of the outputs, measured in the output metric,
    with respect to the parameters of layer `a`. It is the block diagonal of the generalised Gauss-Newton matrix, plus
    a mass; it is not the Hessian, nor the empirical Fisher information. With `N` samples of `C` rows it is the mean
    over samples, as losses are. No matrix is formed: a solve factorises `I + K D^-1 K^T`, or iterates on products with
    `K`.

    The state is the module. Each layer alone removes the whole residual when the mass is small, so that an Euler step
    overshoots by the number of layers: take steps below 1 / layers, search along the line, or use `fm.FullMetric`.

    Args:
        module: the module; kept by structure and shapes.
        inputs: the samples, (N, ...); or `None`, for batches that come as `args = (inputs, targets)`.
        output: the metric of the outputs: `fm.OutputIdentity()`, `fm.OutputFisher("categorical")`,
            `fm.OutputHessian(loss, targets)` or `fm.OutputFactor(matrix_or_fn)`.
        mass: `D`: a positive number; a sequence of them, one for each layer with parameters; or a tree like the module
            of positive numbers, or arrays that broadcast to its leaves: (n_out, 1) is a mass by unit; or a rule,
            `fm.TraceMass(fraction)`.
        solver: `"auto"`, the cheapest by a cost model; `"direct"`, by Cholesky on the cheaper side; `"rows"` or
            `"parameters"`, by Cholesky on that side; `"conjugate_gradients"`.
        tolerance: relative residual of conjugate gradients; by default a hundredth of the integrator's `rtol` in a run.

    Attributes:
        layers: the path of each layer that has a block.

    Raises:
        ValueError: if the mass is not positive or does not fit, or something is no module, metric or solver.

    Reference: Pehle & Slotine, "Riemannian Optimization in Modular Systems", arXiv:2603.03610.
    """

    SOLVERS = ("auto", "direct", "rows", "parameters", "conjugate_gradients")

    def assemble(self, factors: tuple[AbstractRows, ...], y: State) -> LayeredOperator:
        return row_operator(factors, self.mass_at(factors, y), self.owners, y)
