"""Fisher factors against their definition, the expected Hessian of the loss; costates in their rows."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.loss import (
    GaussianNegativeLogLikelihood,
    OutputFisher,
    OutputHessian,
    PoissonNegativeLogLikelihood,
    SigmoidCrossEntropy,
    output_metric_of,
)
from flowmod.loss._likelihoods import LIKELIHOODS

Z = jax.random.normal(jax.random.key(4), (5, 4))


def gram(rows):
    rows = np.asarray(rows)
    return np.einsum("nci,ncj->nij", rows, rows)


def probabilities(z):
    return np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)


def by_hand(name, z):
    """The Fisher information from the textbook."""
    z = np.asarray(z)
    if name == "categorical":
        p = probabilities(z)
        return np.stack([np.diag(q) - np.outer(q, q) for q in p])
    if name == "gaussian":
        return np.stack([np.diag([*np.exp(-row[2:]), 0.5, 0.5]) for row in z])
    return np.stack([np.diag(np.exp(r) / (1 + np.exp(r)) ** 2 if name == "bernoulli" else np.exp(r)) for r in z])


def expected_hessian(name, z):
    """The mean of the loss's Hessian over targets: sums over them, or quadrature, with the loss of the library."""
    loss = LIKELIHOODS[name].loss()
    hessian = jax.hessian(loss)
    if name == "categorical":
        return sum(p * hessian(z, jnp.asarray(label)) for label, p in enumerate(jax.nn.softmax(z)))
    if name == "bernoulli":
        p = jax.nn.sigmoid(z)
        both = [jnp.asarray(target, float) for target in itertools.product([0, 1], repeat=z.size)]
        return sum(jnp.prod(jnp.where(target == 1, p, 1 - p)) * hessian(z, target) for target in both)
    if name == "poisson":
        return hessian(z, jnp.zeros(z.size))  # the same for all targets: they stand beside z, not in its exponent
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    mean, deviation = z[: z.size // 2], jnp.exp(z[z.size // 2 :] / 2)
    total = weights.sum()
    return sum(w / total * hessian(z, mean + deviation * node) for node, w in zip(nodes, weights, strict=True))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_factor_is_that_of_the_fisher_information(name):
    rows = OutputFisher(name).rows(Z, None)
    np.testing.assert_allclose(gram(rows), by_hand(name, Z), atol=1e-14, rtol=1e-12)
    np.testing.assert_allclose(gram(rows), [expected_hessian(name, z) for z in Z], atol=1e-14, rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_softmax_has_one_row_less_than_classes(classes):
    z = 3 * jax.random.normal(jax.random.key(1), (6, classes))
    rows = OutputFisher("categorical").rows(z, None)
    assert rows.shape == (6, classes - 1, classes)
    p = probabilities(np.asarray(z))
    square = np.sqrt(p)[:, :, None] * (np.eye(classes) - p[:, None, :])
    np.testing.assert_allclose(gram(rows), gram(square), atol=1e-15)
    np.testing.assert_allclose(rows @ jnp.ones(classes), 0, atol=1e-14)
    # Without any of its rows it is another matrix.
    for row in range(classes - 1):
        assert np.abs(gram(np.delete(rows, row, axis=1)) - gram(square)).max() > 1e-4


def targets_for(name, n=5, size=4):
    key = jax.random.key(9)
    return {
        "categorical": jax.random.randint(key, (n,), 0, size),
        "gaussian": jax.random.normal(key, (n, size // 2)),
        "bernoulli": jax.random.bernoulli(key, 0.5, (n, size)),
        "poisson": jax.random.poisson(key, 2.0, (n, size)),
    }[name]


def costates_of(loss, z, targets):
    return jax.jit(jax.vmap(jax.grad(loss)))(z, targets)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_costates_in_the_rows_of_the_factor(name):
    metric, loss = OutputFisher(name), LIKELIHOODS[name].loss()
    costates = costates_of(loss, Z, targets_for(name))
    e, remainder = metric.coordinates(loss, Z, costates)
    rows = metric.rows(Z, None)
    np.testing.assert_allclose(jnp.einsum("nrc,nr->nc", rows, e), costates, atol=1e-12)
    np.testing.assert_array_equal(remainder, 0)
    assert np.abs(jnp.einsum("nrc,nr->nc", rows, -e) - costates).max() > 0.1  # the wrong sign is seen


@pytest.mark.parametrize("name", ["categorical", "bernoulli", "poisson"])
def test_in_canonical_parameters_it_is_the_hessian_too(name):
    loss = LIKELIHOODS[name].loss()
    hessian = OutputHessian(loss).rows(Z, targets_for(name))
    np.testing.assert_allclose(gram(hessian), by_hand(name, Z), atol=1e-12)


def test_a_gaussian_with_learned_variance_is_not_its_hessian():
    """Which is not even positive: a Fisher information is, whatever the targets."""
    loss = GaussianNegativeLogLikelihood()
    hessian = jax.hessian(loss)(jnp.zeros(2), jnp.asarray([3.0]))
    assert np.linalg.eigvalsh(hessian)[0] < -0.5


def test_a_loss_brings_its_metric_along():
    for name, likelihood in LIKELIHOODS.items():
        assert output_metric_of(likelihood.loss()) == OutputFisher(name)


EXTREMES = jnp.asarray([*itertools.permutations([100.0, 0.0, -100.0]), *itertools.permutations([1e4, 0.0, -1e4])])


@jax.jit
def softmax_metric(z, label):
    """Costates, rows, coordinates, and the derivatives of a function of all three."""
    metric, loss = OutputFisher("categorical"), fm.SoftmaxCrossEntropy()
    costates = costates_of(loss, z, jnp.broadcast_to(label, z.shape[:1]))

    def of(z):
        return metric.rows(z, None), *metric.coordinates(loss, z, costates)

    def everything(z):
        return sum(jnp.sum(jnp.tanh(array)) for array in of(z))

    return costates, *of(z), jax.grad(everything)(z), jax.hessian(everything)(z)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_certain_classes_have_factors_coordinates_and_derivatives(label, dtype):
    """Every class is once the likely, the unlikely and the label."""
    costates, rows, e, remainder, *derivatives = softmax_metric(EXTREMES.astype(dtype), jnp.asarray(label))
    for array in (rows, e, remainder, *derivatives):
        assert array.dtype == dtype
        assert np.isfinite(array).all()
    assert (np.abs(rows * e[:, :, None]) < 1.001).all()  # so that nothing cancels in L^T e
    tolerance = 100 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(jnp.einsum("nrc,nr->nc", rows, e) + remainder, costates, atol=tolerance)


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "gaussian"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_extreme_outputs_of_independent_likelihoods(name, dtype):
    heights = {"bernoulli": [-1e4, -100, 100, 1e4], "poisson": [-1e4, -100, 40, 80], "gaussian": [1e3, -1e3, 100, 1e4]}
    z, metric, loss = jnp.asarray([heights[name]], dtype), OutputFisher(name), LIKELIHOODS[name].loss()
    targets = targets_for(name, 1)
    costates = costates_of(loss, z, targets)
    rows = metric.rows(z, None)
    e, remainder = metric.coordinates(loss, z, costates)
    for array in (rows, e, remainder):
        assert array.dtype == dtype
        assert np.isfinite(array).all()
    np.testing.assert_allclose(jnp.einsum("nrc,nr->nc", rows, e) + remainder, costates, rtol=1e-5, atol=1e-6)
    assert np.isfinite(jax.jit(jax.hessian(lambda z: jnp.sum(jnp.tanh(metric.rows(z, None)))))(z)).all()


def reflected(z, costates):
    """C - 1 rows by a Householder reflection of `sqrt p` to the first axis, and the coordinates in them."""
    root = jnp.exp(jax.nn.log_softmax(z) / 2)
    v = root.at[:, 0].add(1)
    reflection = jnp.eye(z.shape[1], dtype=z.dtype)[None] - v[:, :, None] * v[:, None, :] / (1 + root[:, :1, None])
    return reflection[:, 1:] * root[:, None, :], jnp.einsum("nrc,nc->nr", reflection[:, 1:], costates / root)


def ours(z, costates):
    metric = OutputFisher("categorical")
    return metric.rows(z, None), metric.coordinates(fm.SoftmaxCrossEntropy(), z, costates)[0]


@partial(jax.jit, static_argnums=0)
def pushed_through(factor, z, labels, jacobian, mass):
    rows, e = factor(z, costates_of(fm.SoftmaxCrossEntropy(), z, labels))
    K = jnp.einsum("nrc,ncp->nrp", rows, jacobian).reshape(-1, jacobian.shape[2])
    return K.T @ jnp.linalg.solve(mass * jnp.eye(len(K), dtype=z.dtype) + K @ K.T, e.ravel())


def test_a_wrong_label_costs_no_accuracy_whichever_it_is():
    """In single precision; a reflection of the rows to a fixed class loses every digit where that class is unlikely."""
    jacobian = jax.random.normal(jax.random.key(3), (2, 3, 20))
    errors = {ours: [], reflected: []}
    for order, label in itertools.product(itertools.permutations([20.0, 0.0, -20.0]), range(3)):
        z, labels = jnp.asarray([order, order]) + 0.3 * Z[:2, :3], jnp.full(2, label)
        z, J = (array.astype(jnp.float32).astype(float) for array in (z, jacobian))
        exact = pushed_through(ours, z, labels, J, 1e-4)
        np.testing.assert_allclose(exact, pushed_through(reflected, z, labels, J, 1e-4), rtol=1e-3, atol=1e-5)
        for factor, found in errors.items():
            single = pushed_through(factor, z.astype(jnp.float32), labels, J.astype(jnp.float32), 1e-4).astype(float)
            found.append(np.linalg.norm(single - exact) / (np.linalg.norm(exact) + 1e-6))
    assert max(errors[ours]) < 1e-4
    assert max(errors[reflected]) > 0.1


def test_outputs_that_no_likelihood_fits():
    with pytest.raises(
        ValueError, match="`likelihood` must be one of categorical, gaussian, bernoulli, poisson, got 't'"
    ):
        OutputFisher("t")
    with pytest.raises(ValueError, match=r"needs at least 2 logits for each sample, got outputs of shape \(1,\)"):
        OutputFisher("categorical").rows(Z[:, :1], None)
    for outputs in (Z[:, :3], Z[:, :, None]):
        with pytest.raises(ValueError, match=r'`OutputFisher\("gaussian"\)` needs as many log variances as means'):
            OutputFisher("gaussian").rows(outputs, None)


def test_losses_that_a_metric_does_not_fit():
    """A costate that does not sum to zero is out of the range of a softmax's factor; a diagonal one has them all."""
    costates = costates_of(fm.MeanSquaredError(), Z, jnp.ones_like(Z))
    assert OutputFisher("categorical").coordinates(fm.MeanSquaredError(), Z, costates) is None
    e, _ = OutputFisher("bernoulli").coordinates(fm.MeanSquaredError(), Z, costates)
    rows = OutputFisher("bernoulli").rows(Z, None)
    np.testing.assert_allclose(jnp.einsum("nrc,nr->nc", rows, e), costates, rtol=1e-12)


def test_coordinates_of_other_metrics():
    loss = SigmoidCrossEntropy()
    costates = costates_of(loss, Z, targets_for("bernoulli"))
    squares = OutputHessian(fm.MeanSquaredError(), jnp.zeros_like(Z))
    e, remainder = squares.coordinates(loss, Z, costates)
    np.testing.assert_allclose(jnp.einsum("nrc,nr->nc", squares.rows(Z, None), e) + remainder, costates, atol=1e-14)
    assert OutputHessian(PoissonNegativeLogLikelihood()).coordinates(loss, Z, costates) is None
    assert fm.OutputFactor(jnp.eye(4)).coordinates(loss, Z, costates) is None


def test_independent_outputs_may_have_any_shape():
    z = Z.reshape(5, 2, 2)
    rows = OutputFisher("bernoulli").rows(z, None)
    assert rows.shape == (5, 4, 2, 2)
    np.testing.assert_array_equal(rows.reshape(5, 4, 4), OutputFisher("bernoulli").rows(Z, None))
    loss = SigmoidCrossEntropy()
    costates = costates_of(loss, z, targets_for("bernoulli").reshape(z.shape))
    e, remainder = OutputFisher("bernoulli").coordinates(loss, z, costates)
    assert remainder.shape == z.shape
    np.testing.assert_allclose(jnp.einsum("nrij,nr->nij", rows, e), costates, atol=1e-13)
