"""Lipschitz constants of the layers of a network, measured at a state over its batch."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._tree import floats
from ..._typing import Args, State
from ...flow import AbstractFlow
from ...linalg import AbstractRows, JoinedRows
from ...loss import Supervised, batch_of, cast_samples
from ...metric import AbstractModularMetric, LayerwiseMetric
from ...module import AbstractModule, Series, complete, modules_of


class LayerConstants(NamedTuple):
    """For each layer the largest value over the samples, (L,).

    Attributes:
        input_lipschitz: `nu_a = |dz_a/dz_{a-1}|`, of the layer and what follows it up to the next one with parameters.
        parameter_lipschitz: `kappa_a = |K_a|` of one sample, what a change of the layer's parameters does to an output.
        parameter_bound: `|L_out| prod_{b>a} nu_b |B_a|`, which `kappa_a` does not exceed.
    """

    input_lipschitz: Float[np.ndarray, " L"]
    parameter_lipschitz: Float[np.ndarray, " L"]
    parameter_bound: Float[np.ndarray, " L"]


def network_metric(flow: AbstractFlow, y: State) -> AbstractModularMetric | None:
    """The metric whose factors are those of the flow's layers, if its state is a network: its own, or its problem's."""
    if not isinstance(y, AbstractModule):
        return None
    if isinstance(flow.metric, AbstractModularMetric):
        metric = flow.metric
    elif isinstance(flow.potential, Supervised):
        metric = LayerwiseMetric.of(flow.potential)
    else:
        return None
    return metric if metric.owners == modules_of(y) else None


def layer_constants(metric: AbstractModularMetric, y: State, args: Args) -> LayerConstants:
    """The constants of the layers of a series; a module of another kind is one layer with several blocks."""
    factor, output, stages = _grams(metric, y, args)
    own = np.array([_norm(gram) for gram in factor])
    into = np.array([_norm(by_input) for by_input, _ in stages])
    after = _norm(output) * np.append(np.cumprod(into[:0:-1])[::-1], 1.0)
    counts = [len(by_block) for _, by_block in stages]
    by_block = np.array([_norm(gram) for _, blocks in stages for gram in blocks])
    return LayerConstants(np.repeat(into, counts), own, np.repeat(after, counts) * by_block)


@eqx.filter_jit
def _grams(metric, y, args):
    """Gram matrices by sample, whose largest eigenvalues are squared norms: of `K_a`, of `L`, of each `A_a` and `B_a`.

    The eigenvalues are left to NumPy: factorisations side by side in one program can hang XLA on two cores.
    """
    inputs, targets = batch_of(metric.inputs, None, args)
    module = complete(metric.template, y)
    z = cast_samples(inputs, module)
    start, *stages = _stages(module)
    for layer in start:
        z = layer.linearise(z)[0]
    of_stages = []
    for stage in stages:
        outputs, pull = Series(tuple(stage)).linearise(z)
        factors, back = pull(_identity(outputs))
        z = outputs
        of_stages.append((_smaller_gram(back), [_sample_grams(factor, z.dtype) for factor in factors]))
    factors = [len(z) * _sample_grams(factor, z.dtype) for factor in metric.factors(y, args)]
    return factors, _smaller_gram(metric.output.rows(z, targets)), of_stages


def _stages(module: AbstractModule) -> list[list[AbstractModule]]:
    """The layers of a series, cut before each one with parameters: what comes before the first of them, then those."""
    stages: list[list[AbstractModule]] = [[]]
    for layer in module.layers if isinstance(module, Series) else (module,):
        if jax.tree.leaves(floats(layer)):
            stages.append([])
        stages[-1].append(layer)
    return stages


def _identity(outputs: Float[Array, "N ..."]) -> Float[Array, "N m ..."]:
    n, *shape = outputs.shape
    size = outputs[0].size
    return jnp.broadcast_to(jnp.eye(size, dtype=outputs.dtype).reshape(1, size, *shape), (n, size, *shape))


def _sample_grams(factor: AbstractRows, dtype) -> Float[Array, "N C C"]:
    """`K_n K_n^T` of each sample; layers in one stack count as one."""
    return JoinedRows((factor,)).sample_grams((jnp.ones((), dtype),) * len(factor.shapes))


def _smaller_gram(rows: Float[Array, "N C ..."]) -> Float[Array, "N s s"]:
    matrix = rows.reshape(*rows.shape[:2], -1)
    equation = "nci,ndi->ncd" if matrix.shape[1] <= matrix.shape[2] else "nci,ncj->nij"
    return jnp.einsum(equation, matrix, matrix)


def _norm(grams: Float[Array, "N s s"]) -> float:
    """The largest spectral norm of the samples; NaN if something is not finite."""
    squares = np.asarray(grams, dtype=np.float64)
    if not np.isfinite(squares).all():
        return float("nan")
    return float(np.sqrt(max(np.linalg.eigvalsh(squares)[:, -1].max(), 0.0)))
