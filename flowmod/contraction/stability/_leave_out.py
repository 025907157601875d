"""A flow whose data weigh less: what it takes to leave one sample out and keep the weight `1/n` of the others."""

from typing import Any

import equinox as eqx
import jax

from ..._typing import State
from ...flow import AbstractFlow, GradientFlow
from ...loss import AbstractLoss, AbstractOutputMetric, Supervised
from ...metric import AbstractMetric, AbstractModularMetric
from ._sample_parts import ignores_data, require_sum, unknown_weights


class _ScaledLoss(AbstractLoss):
    loss: AbstractLoss
    share: float = eqx.field(static=True)

    def __call__(self, output, target):
        return self.share * self.loss(output, target)

    def check(self, outputs, targets):
        self.loss.check(outputs, targets)


class _ScaledOutput(AbstractOutputMetric):
    """`L^T L` times a share; its coordinates are those of the loss times the same share."""

    output: AbstractOutputMetric
    share: float = eqx.field(static=True)

    def rows(self, outputs, targets):
        return self.share**0.5 * self.output.rows(outputs, targets)

    def coordinates(self, loss, outputs, costates):
        assert isinstance(loss, _ScaledLoss)
        own = self.output.coordinates(loss.loss, outputs, costates / self.share)
        return None if own is None else (self.share**0.5 * own[0], self.share * own[1])


def rescaled(flow: AbstractFlow, share: float) -> GradientFlow:
    """The flow with the loss of its data, and what the data give to a modular metric, times `share`.

    On the samples but one, `share = (n - 1) / n` keeps the weight `1/n` of the others.

    Raises:
        ValueError: if the flow trains no module, so that its loss and its regularizer can't be told apart.
    """
    if not isinstance(flow, GradientFlow) or not isinstance(flow.potential, Supervised):
        raise ValueError(
            '`kind="leave-one-out"` keeps the weight 1/n of the others, for which it needs the loss apart from the '
            'regularizer: a `fm.GradientFlow` of a `fm.Supervised`. Use `kind="replace-one"` for any other flow.'
        )
    require_sum(flow.metric)
    problem = flow.potential
    problem = eqx.tree_at(lambda problem: problem.loss, problem, _ScaledLoss(problem.loss, share))
    return GradientFlow(problem, rescaled_metric(flow.metric, share), units=dict(flow.units))


def rescaled_metric(metric: AbstractMetric, share: float) -> AbstractMetric:
    """The metric with `share` times the rows that a modular metric has of its data; any other as it is."""

    def scaled(node: Any) -> Any:
        if not isinstance(node, AbstractModularMetric) or node.inputs is not None:
            return node
        return eqx.tree_at(lambda metric: metric.output, node, _ScaledOutput(node.output, share))

    return jax.tree.map(scaled, metric, is_leaf=lambda node: isinstance(node, AbstractModularMetric))


def require_weights(flow: AbstractFlow, y: State, data: Any) -> None:
    """Raise a `ValueError` if it is not known how to leave a sample out and keep the weight of the others."""
    metric = rescaled(flow, 1.0).metric
    if isinstance(metric, AbstractModularMetric):
        return
    if not eqx.filter_jit(ignores_data)(rescaled_metric(metric.at(0.0), 0.0), y, data):
        raise unknown_weights()
