"""What the solve of a modular metric with a gradient says about each layer: how well it went, and what the step does.

Guide: `docs/guides/the-layerwise-metric.md`.
"""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._tree import dot, is_traced
from ..linalg import AbstractRows, JoinedRows, LayeredOperator, Part
from ._modular import AbstractModularMetric, AbstractRowMetric, Operator
from ._sweep import Descent


class LayerReport(eqx.Module):
    """The solve `x = M^-1 g` of a modular metric with a gradient, layer by layer; `print` it for a table.

    `u_a = K_a x_a` is what the step of layer `a` does to the outputs, in the metric of the outputs, and `u = sum_a u_a`
    what the whole step does. Equal layers in one stack count as one. `fm.FullMetric` solves for all layers at once:
    its solver, iterations, residual and condition are the same for each. Along a trajectory the arrays have a leading
    axis of times.

    Attributes:
        layers: the path of each layer, in the order of the arrays.
        rows: how many rows its factor `K_a` has: samples times rows of the output metric.
        parameters: how many numbers it has.
        solver: how it was solved: `"rows"`, `"parameters"`, `"conjugate_gradients"`, `"riccati"` or `"per sample"`.
        iterations: steps of the solver, (L,); zero for a factorisation.
        residual: `|M_a x_a - g_a| / |g_a|`, (L,), worked out from the solution; zero for `fm.PerSampleMetric`, whose
            inverse is a product.
        condition: `1 + |K_a D_a^-1 K_a^T|`, (L,), estimated by some products from below: the condition number that
            rounding and conjugate gradients see. NaN for `fm.PerSampleMetric`, which solves no system of many samples.
        gradient_norm: the Euclidean norm of `g_a`, (L,).
        update_norm: the Euclidean norm of `x_a`, (L,).
        overlap: the cosine of `u_a` and `u`, (L,): 1 where a layer pulls the outputs where the whole step does,
            negative where the others undo it. NaN for a step that does nothing.
        best_step: the step size `g.x / (x.D x + |u|^2)` at which `-x` lowers the quadratic model
            `f - h g.x + h^2 x.(D + K^T K) x / 2` of all layers the most, a scalar, by `best_step * g.x / 2`. It is 1
            for `fm.FullMetric`. For `fm.LayerwiseMetric` it is at least one over the number of layers: 1 where they do
            not overlap, smaller where they remove the same residual, larger where they undo each other's work.
    """

    layers: tuple[str, ...] = eqx.field(static=True)
    rows: tuple[int, ...] = eqx.field(static=True)
    parameters: tuple[int, ...] = eqx.field(static=True)
    solver: tuple[str, ...] = eqx.field(static=True)
    iterations: Int[Array | np.ndarray, "*times layers"]
    residual: Float[Array | np.ndarray, "*times layers"]
    condition: Float[Array | np.ndarray, "*times layers"]
    gradient_norm: Float[Array | np.ndarray, "*times layers"]
    update_norm: Float[Array | np.ndarray, "*times layers"]
    overlap: Float[Array | np.ndarray, "*times layers"]
    best_step: Float[Array | np.ndarray, "*times"]

    @property
    def measures(self) -> dict[str, Any]:
        """The arrays by layer, by name."""
        return {name: getattr(self, name) for name in MEASURES}

    def by_layer(self, measure: str) -> dict[str, Any]:
        """The numbers of one measure by the path of the layer, as `fm.plot.layers` takes them.

        Raises:
            ValueError: if `measure` is none of the arrays by layer.
        """
        if measure not in MEASURES:
            raise ValueError(f"`measure` must be one of {', '.join(MEASURES)}, got {measure!r}.")
        values = getattr(self, measure)
        return {layer: values[..., index] for index, layer in enumerate(self.layers)}

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame` with a row for each layer; for a trajectory use `trajectory.to_xarray()`.

        Raises:
            ValueError: if there is more than one state.
        """
        import pandas as pd

        if np.ndim(self.best_step):
            raise ValueError(
                f"This report is one of {self.best_step.size} states, and a table of layers is of one: take "
                "`jax.tree.map(lambda leaf: leaf[-1], report)`, or `trajectory.to_xarray()` for all."
            )
        known = {"rows": self.rows, "parameters": self.parameters, "solver": self.solver}
        arrays = {name: np.asarray(values) for name, values in self.measures.items()}
        return pd.DataFrame(known | arrays, index=pd.Index(self.layers, name="layer"))

    def __str__(self) -> str:
        if is_traced(self.best_step):
            return f"LayerReport inside a JAX transformation, of {len(self.layers)} layers"
        if not np.size(self.best_step):
            return f"LayerReport of no state, {len(self.layers)} layers"
        last: LayerReport = jax.tree.map(
            lambda leaf: np.asarray(leaf).reshape(-1, *np.shape(leaf)[np.ndim(self.best_step) :])[-1], self
        )
        title = (
            "LayerReport" if np.ndim(self.best_step) == 0 else f"LayerReport, the last of {self.best_step.size} states"
        )
        lines = [*aligned(list(last._cells()), words=(0, 3)), f"best step  {float(last.best_step):.4g}"]
        return "\n".join([title, *("  " + line for line in lines)])

    def _cells(self) -> Iterator[tuple[str, ...]]:
        yield ("layer", "rows", "parameters", "solver", *(name.replace("_", " ") for name in MEASURES))
        arrays = list(self.measures.values())
        for index, known in enumerate(zip(self.layers, self.rows, self.parameters, self.solver, strict=True)):
            yield (*map(str, known), *(f"{values[index]:.3g}" for values in arrays))


MEASURES = {
    "iterations": "steps of the solver of a layer's block",
    "residual": "relative residual of the solve of a layer's block",
    "condition": "condition number of a layer's block",
    "gradient_norm": "Euclidean norm of a layer's gradient",
    "update_norm": "Euclidean norm of a layer's step",
    "overlap": "cosine of what a layer's step and the whole step do to the outputs",
}
"""What each array of a report by layer is."""


def report_of(metric: AbstractModularMetric, descent: Descent) -> LayerReport:
    """What a solve says about the layers: no other solve is made.

    Args:
        metric: the metric that was solved.
        descent: its solve with a gradient.
    """
    owners, operator, solution = metric.owners, descent.operator, descent.solution
    factors = _factors(operator)
    gradient, step = owners.split(descent.covector), owners.split(solution.value)
    effects = [_on_outputs(factor, part) for factor, part in zip(factors, step, strict=True)]
    whole = sum(effects[1:], start=effects[0])
    mass = [entry for part in operator.mass for entry in part]
    damped = sum(jnp.sum(d * v**2) for d, v in zip(mass, [leaf for part in step for leaf in part], strict=True))
    solvers, conditions = _solves(metric, operator)
    by_layer = lambda values: jnp.broadcast_to(values, (len(factors),))  # noqa: E731
    return LayerReport(
        layers=owners.names,
        rows=tuple(factor.count for factor in factors),
        parameters=tuple(factor.columns for factor in factors),
        solver=solvers if len(solvers) == len(factors) else solvers * len(factors),
        iterations=by_layer(solution.iterations),
        residual=by_layer(solution.residual),
        condition=by_layer(conditions),
        gradient_norm=jnp.stack([_norm(part) for part in gradient]),
        update_norm=jnp.stack([_norm(part) for part in step]),
        overlap=jnp.stack([jnp.vdot(effect, whole) / (_norm(effect) * _norm(whole)) for effect in effects]),
        best_step=dot(gradient, step) / (damped + jnp.sum(whole**2)),
    )


def _factors(operator: Operator) -> tuple[AbstractRows, ...]:
    """The factor of each layer, also where they are one block."""
    apart = (factor.factors if isinstance(factor, JoinedRows) else (factor,) for factor in operator.factors)
    return tuple(factor for factors in apart for factor in factors)


def _on_outputs(factor: AbstractRows, part: Part) -> Float[Array, "N C"]:
    """`K x`, added up over the layers of a stack: all of them move the same outputs."""
    moved = factor.mv(part)
    return jnp.sum(moved.reshape(-1, *moved.shape[-2:]), axis=0)


def _solves(metric: AbstractModularMetric, operator: Operator) -> tuple[tuple[str, ...], Float[Array, " B"]]:
    """How each block is solved, and its condition number."""
    if isinstance(metric, AbstractRowMetric) and isinstance(operator, LayeredOperator):
        return metric.solvers(operator), jnp.stack([block.condition() for block in operator.operators])
    return ("per sample",), jnp.full(1, jnp.nan)


def _norm(tree: Any) -> Float[Array, ""]:
    return jnp.sqrt(dot(tree, tree))


def aligned(table: list[tuple[str, ...]], words: tuple[int, ...] = (0,)) -> list[str]:
    """Lines with the columns under each other: those of `words` to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
