"""Losses and supervised problems: values against other libraries, and every wrong kind of data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from scipy.special import logsumexp

import flowmod as fm
from flowmod.loss import GaussianNegativeLogLikelihood, PoissonNegativeLogLikelihood, SigmoidCrossEntropy
from tests.networks import classification, samples, tanh_network


def test_losses_are_those_of_textbooks_and_of_optax():
    z = jnp.asarray([0.3, -1.2, 2.0])
    loss = fm.SoftmaxCrossEntropy()
    for label in range(3):
        by_hand = float(logsumexp(np.asarray(z)) - z[label])
        assert float(loss(z, jnp.asarray(label))) == pytest.approx(by_hand, rel=1e-14)
        assert float(loss(z, jax.nn.one_hot(label, 3))) == pytest.approx(by_hand, rel=1e-14)
        theirs = optax.losses.softmax_cross_entropy_with_integer_labels(z, jnp.asarray(label))
        assert float(loss(z, jnp.asarray(label))) == pytest.approx(float(theirs), rel=1e-13)
    target = jnp.asarray([1.0, 0.0, -1.0])
    assert float(fm.MeanSquaredError()(z, target)) == pytest.approx(0.5 * float(np.sum((z - target) ** 2)), rel=1e-14)


def test_likelihoods_are_those_of_scipy():
    z = jnp.asarray([0.3, -1.2, 2.0, 0.1])
    happened, counts, numbers = (
        jnp.asarray([True, False, True, True]),
        jnp.asarray([0, 2, 5, 1]),
        jnp.asarray([0.4, -2]),
    )
    by_scipy = {
        SigmoidCrossEntropy: (happened, stats.bernoulli(1 / (1 + np.exp(-np.asarray(z)))).logpmf(happened)),
        PoissonNegativeLogLikelihood: (counts, stats.poisson(np.exp(z)).logpmf(counts)),
        GaussianNegativeLogLikelihood: (numbers, stats.norm(z[:2], np.exp(z[2:] / 2)).logpdf(numbers)),
    }
    for loss, (target, logs) in by_scipy.items():
        assert float(loss()(z, target)) == pytest.approx(-float(np.sum(logs)), rel=1e-12)
    sure = jnp.asarray([1e4, -1e4], jnp.float32)
    assert float(SigmoidCrossEntropy()(sure, jnp.asarray([1, 0]))) == 0
    assert float(SigmoidCrossEntropy()(sure, jnp.asarray([0, 1]))) == 2e4


def test_targets_that_no_likelihood_has(key):
    net, inputs = fm.Linear(5, 4, key=key), jnp.ones((6, 5))
    zeros = jnp.zeros((6, 4))
    mistakes = [
        (
            SigmoidCrossEntropy(),
            zeros.at[3, 1].set(1.5),
            "between 0 and 1, probabilities of events, got 1.5 at sample 3",
        ),
        (SigmoidCrossEntropy(), zeros[:, 0], r"the shape of the module's outputs, \(6, 4\), got \(6,\)"),
        (PoissonNegativeLogLikelihood(), zeros.at[2, 0].set(-1.0), r"counts, 0 or more, got -1.0 at sample 2"),
        (GaussianNegativeLogLikelihood(), zeros, r"one number for each mean .*, \(6, 2\), got \(6, 4\)"),
    ]
    for loss, targets, sentence in mistakes:
        with pytest.raises(ValueError, match="`targets` must (be|have) " + sentence):
            fm.Supervised(net, loss, inputs, targets)
    with pytest.raises(
        ValueError, match=r"`module` must give as many log variances as means .* got outputs of shape \(3"
    ):
        fm.Supervised(fm.Linear(5, 3, key=key), GaussianNegativeLogLikelihood(), inputs, zeros)


def test_a_problem_is_the_mean_over_samples_and_the_decay_of_all_weights():
    net, problem = classification(regularizer=fm.WeightDecay(0.3))
    logits = np.asarray(jax.vmap(net)(problem.inputs))
    labels = np.asarray(problem.targets)
    mean = np.mean([logsumexp(z) - z[label] for z, label in zip(logits, labels, strict=True)])
    decay = 0.15 * sum(float(np.sum(np.asarray(leaf) ** 2)) for leaf in jax.tree.leaves(net))
    assert float(problem(net)) == pytest.approx(mean + decay, rel=1e-13)
    assert float(fm.WeightDecay(0.3)(net)) == pytest.approx(decay, rel=1e-13)
    flow = fm.GradientFlow(fm.WeightDecay(0.3))
    np.testing.assert_allclose(flow.vector_field(0.0, net).layers[0].weight, -0.3 * net.layers[0].weight, rtol=1e-14)


def test_a_single_precision_network_stays_so_with_double_precision_data():
    net, problem = classification(regularizer=fm.WeightDecay(0.3))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), net)
    value, covector, vector = fm.steepest_descent(problem, fm.LayerwiseMetric.of(problem, mass=0.1), single)
    assert value.dtype == jnp.float32
    assert {leaf.dtype for tree in (covector, vector) for leaf in jax.tree.leaves(tree)} == {np.dtype("float32")}
    assert float(value) == pytest.approx(float(problem(net)), rel=1e-5)


def test_a_module_can_come_without_what_does_not_move():
    """An optimizer holds arrays only; the problem knows the rest."""
    net = fm.wrap(eqx.nn.MLP(5, 3, 4, 1, key=jax.random.key(0)))
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy(), *samples(4, 5, 3))
    arrays = eqx.filter(net, eqx.is_inexact_array)
    assert float(problem(arrays)) == float(problem(net))


BAD = {
    "labels out of range": (lambda x, y: (x, y.at[2].set(7)), "labels from 0 to 2, got 7 at sample 2"),
    "negative labels": (lambda x, y: (x, y.at[1].set(-1)), "labels from 0 to 2, got -1 at sample 1"),
    "labels as floats": (lambda x, y: (x, y.astype(float)), r"`targets` must be integer labels .*got float64"),
    "labels as booleans": (lambda x, y: (x, y > 0), "`targets` must be integer labels .*got bool"),
    "rows of another width": (lambda x, y: (x, jax.nn.one_hot(y, 4)), r"of shape \(6, 3\), got float64 of shape"),
    "rows that are no probabilities": (
        lambda x, y: (x, 2 * jax.nn.one_hot(y, 3)),
        r"`targets` must be rows of probabilities that add up to 1, got .* at sample 0",
    ),
    "fewer targets": (lambda x, y: (x, y[:4]), "same length, got 6 samples and 4 targets"),
    "a NaN in one sample": (lambda x, y: (x.at[4, 2].set(jnp.nan), y), "`inputs` must be finite, but sample 4 is not"),
    "samples of another size": (lambda x, y: (x[:, :4], y), r"needs samples of shape \(5,\), got \(4,\)"),
    "no samples": (lambda x, y: (x[:0], y[:0]), "`inputs` must have samples along its first axis"),
    "a number": (lambda x, y: (1.0, y), "`inputs` must have samples along its first axis"),
    "text": (lambda x, y: ("images", y), "`inputs` must be an array of numbers.*got str"),
    "inputs alone": (lambda x, y: (x, None), "`inputs` and `targets` must be given together"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_named(name):
    spoil, sentence = BAD[name]
    net = tanh_network(5, 4, 3)
    with pytest.raises(ValueError, match=sentence):
        fm.Supervised(net, fm.SoftmaxCrossEntropy(), *spoil(*samples(6, 5, 3)))


@pytest.mark.parametrize("name", [name for name in BAD if name != "inputs alone"])
def test_bad_batches_are_named_too(name):
    spoil, sentence = BAD[name]
    net = tanh_network(5, 4, 3)
    problem = fm.Supervised(net, fm.SoftmaxCrossEntropy())
    with pytest.raises(ValueError, match=sentence):
        problem(net, spoil(*samples(6, 5, 3)))


def test_a_module_whose_output_does_not_fit_the_loss(key):
    inputs, labels = samples(6, 5, 3)
    with pytest.raises(ValueError, match="`module` must give at least 2 logits per sample"):
        fm.Supervised(fm.Linear(5, 1, key=key), fm.SoftmaxCrossEntropy(), inputs, labels)
    with pytest.raises(
        ValueError, match=r"`targets` must have the shape of the module's outputs, \(6, 4\), got \(6,\)"
    ):
        fm.Supervised(fm.Linear(5, 4, key=key), fm.MeanSquaredError(), inputs, labels)
    targets = jnp.zeros((6, 4)).at[3, 0].set(jnp.inf)
    with pytest.raises(ValueError, match="`targets` must be finite, but sample 3 is not"):
        fm.Supervised(fm.Linear(5, 4, key=key), fm.MeanSquaredError(), inputs, targets)


def test_other_wrong_arguments(key):
    net = tanh_network(5, 4, 3)
    with pytest.raises(ValueError, match="`module` must be a module of flowmod, got MLP"):
        fm.Supervised(eqx.nn.MLP(5, 3, 4, 1, key=key), fm.SoftmaxCrossEntropy())
    with pytest.raises(ValueError, match="`loss` must be a loss"):
        fm.Supervised(net, jnp.sum)
    with pytest.raises(ValueError, match="`regularizer` must be a function of"):
        fm.Supervised(net, fm.MeanSquaredError(), regularizer=0.1)
    with pytest.raises(ValueError, match=r"`args` must be \(inputs, targets\)"):
        fm.Supervised(net, fm.SoftmaxCrossEntropy())(net)
    for rate in (0.0, -1.0, "much", float("nan")):
        with pytest.raises(ValueError, match="`rate` must be a positive number"):
            fm.WeightDecay(rate)
