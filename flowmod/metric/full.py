"""The full metric: all layers as one block."""

from .._typing import State
from ..linalg import AbstractRows, Blocks, JoinedRows, LayeredOperator
from ._modular import AbstractRowMetric, row_operator


class FullMetric(AbstractRowMetric):
    """The damped pullback `D + K^T K` of the metric of the outputs, with the rows `K = [K_1 ... K_L]` of all layers.

    It is the generalised Gauss-Newton matrix plus a mass, whose block diagonal is `fm.LayerwiseMetric`. A solve costs
    the same: the inner matrix is `I + sum_a K_a D_a^-1 K_a^T`. Its step is that of the whole network, so that a step of
    one does not overshoot.

    Args:
        module: as for `fm.LayerwiseMetric`, and so are the other arguments.
        solver: besides those of `fm.LayerwiseMetric` `"riccati"`, the same step by a sweep back and one forward through
            the layers, as a linear-quadratic control problem.

    Raises:
        ValueError: as `fm.LayerwiseMetric`.

    Reference: J. Martens, "New insights and perspectives on the natural gradient method" (2020).
    """

    SOLVERS = ("auto", "direct", "rows", "parameters", "conjugate_gradients", "riccati")

    def assemble(self, factors: tuple[AbstractRows, ...], y: State) -> LayeredOperator:
        owners = self.owners
        together = Blocks(("",), (tuple(leaf for block in owners.leaves for leaf in block),))
        mass = tuple(entry for part in self.mass_at(factors, y) for entry in part)
        return row_operator((JoinedRows(factors),), (mass,), together, y)
