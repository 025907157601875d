"""`layer_report`: how the metric of a flow is solved at a state, layer by layer."""

from typing import Any

import equinox as eqx

from .._tree import as_state, traced_numbers
from .._typing import Args, State
from ..flow import AbstractFlow, require_flow
from ..metric import AbstractModularMetric, LayerReport, modular_descent, report_of


def layer_report(flow: AbstractFlow, y: State, t: Any = 0.0, args: Args = None) -> LayerReport:
    """The solve of a flow's metric with the gradient at a state: residual, condition, norms and overlap by layer.

    It is one evaluation of the flow, and works inside JAX transformations. Along a run the same is `trajectory.layers`,
    at no solve more than the other measures take.

    Args:
        flow: a flow with a potential and a layerwise, full or per-sample metric.
        y: the state.
        t: the time.
        args: handed to the potential and to the metric.

    Returns:
        A `LayerReport`.

    Raises:
        ValueError: if the flow has no potential, or a metric without layers.

    Example:
        ```python
        problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), images, labels)
        print(fm.layer_report(fm.GradientFlow(problem, fm.LayerwiseMetric.of(problem, mass=0.1)), net))
        ```
    """
    require_flow(flow)
    if flow.potential is None or not isinstance(flow.metric, AbstractModularMetric):
        lacks = "no potential" if flow.potential is None else f"the metric {type(flow.metric).__name__}"
        raise ValueError(
            f"`flow` must have a potential and a metric with layers, as `fm.LayerwiseMetric`, got one with {lacks}."
        )
    return _report(flow, as_state("y", y), traced_numbers(t), traced_numbers(args))


@eqx.filter_jit
def _report(flow, y, t, args):
    metric = flow.metric.at(t)
    return report_of(metric, modular_descent(flow.potential, metric, flow.position(y), args))
