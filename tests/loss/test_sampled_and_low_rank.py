"""Few rows in the place of many: their mean, their variance, their share, their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.loss import OutputFactor, OutputFisher, OutputHessian, OutputIdentity, OutputLowRank, OutputSampled

Z = jax.random.normal(jax.random.key(4), (3, 6))


def gram(rows):
    rows = rows.reshape(*rows.shape[:2], -1)
    return jnp.einsum("nci,ncj->nij", rows, rows)


OUTPUTS = {
    "identity": OutputIdentity(),
    "categorical": OutputFisher("categorical"),
    "poisson": OutputFisher("poisson"),
    "factor": OutputFactor(jax.random.normal(jax.random.key(2), (9, 6))),
}


def draws(output, probes, count, rescale=1.0):
    """The estimates of `L^T L` for many keys."""
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.lax.map(lambda key: rescale * gram(OutputSampled(output, probes, key).rows(Z, None)), keys))


def error_of_the_mean(estimates, exact):
    """In standard errors: its square is 1 on average."""
    count = len(estimates)
    squares = np.sum((estimates - exact) ** 2, axis=(2, 3)).mean(axis=0)
    return np.sum((estimates.mean(axis=0) - exact) ** 2, axis=(1, 2)) * count / squares


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("probes", [1, 3])
def test_probes_estimate_without_bias_and_with_the_variance_they_tell(name, probes):
    output = OUTPUTS[name]
    exact = np.asarray(gram(output.rows(Z, None)))
    estimates = draws(output, probes, 10_000)
    assert (error_of_the_mean(estimates, exact) < 3).all()
    relative = np.sum((estimates - exact) ** 2, axis=(2, 3)).mean(axis=0) / np.sum(exact**2, axis=(1, 2))
    told = OutputSampled(output, probes, jax.random.key(0)).variance(Z)
    np.testing.assert_allclose(told, relative, rtol=0.05)


def test_probes_that_are_not_rescaled_are_biased():
    output = OUTPUTS["categorical"]
    estimates = draws(output, 3, 1000, rescale=3.0)  # without 1 / sqrt(m)
    assert (error_of_the_mean(estimates, np.asarray(gram(output.rows(Z, None)))) > 100).all()


def test_one_row_is_probed_exactly_or_not_at_all():
    """Its sign is of no effect: the variance of a single row is zero."""
    one = OutputFactor(jnp.asarray([[1.0, 2.0, 0, 0, 0, 0], [0.0] * 6]))
    sampled = OutputSampled(one, 1, jax.random.key(1))
    np.testing.assert_allclose(gram(sampled.rows(Z, None)), gram(one.rows(Z, None)), rtol=1e-14)
    np.testing.assert_allclose(sampled.variance(Z), 0, atol=1e-15)


def test_probes_are_those_of_their_key_and_of_their_sample():
    output, level = OUTPUTS["categorical"], jnp.zeros((3, 6))
    rows = [OutputSampled(output, 2, jax.random.key(seed)).rows(level, None) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert np.abs(rows[0] - rows[2]).max() > 0.1
    assert np.abs(gram(rows[0])[0] - gram(rows[0])[1]).max() > 0.01


def test_a_sampled_metric_is_a_smooth_function_of_the_outputs():
    sampled = OutputSampled(OUTPUTS["categorical"], 2, jax.random.key(0))
    ahead, back = (gram(sampled.rows(Z + t * jnp.cos(Z), None)) for t in (1e-5, -1e-5))
    np.testing.assert_allclose(along(sampled, Z, jnp.cos(Z))[1], (ahead - back) / 2e-5, atol=1e-9)


def test_the_leading_directions_are_the_best_of_their_rank():
    output = OUTPUTS["categorical"]
    exact = np.asarray(gram(output.rows(Z, None)))
    for rank in (1, 3, 5):
        cut = OutputLowRank(output, rank)
        values, vectors = np.linalg.eigh(exact)
        best = [(v[:, -rank:] * w[-rank:]) @ v[:, -rank:].T for w, v in zip(values, vectors, strict=True)]
        assert cut.rows(Z, None).shape == (3, rank, 6)
        np.testing.assert_allclose(gram(cut.rows(Z, None)), best, atol=1e-14)
        np.testing.assert_allclose(cut.kept(Z), values[:, -rank:].sum(axis=1) / values.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(gram(OutputLowRank(output, 5).rows(Z, None)), exact, atol=1e-14)


def cut_by_numpy(output, rank, z):
    values, vectors = np.linalg.eigh(np.asarray(gram(output.rows(z, None))))
    leading = vectors[:, :, -rank:]
    return (leading * values[:, None, -rank:]) @ np.swapaxes(leading, 1, 2)


def along(output, z, u):
    """`L^T L` on a straight path of outputs, with its first and second derivative in forward mode."""
    path = lambda t: gram(output.rows(z + t * u, None))  # noqa: E731
    return jax.jit(lambda: (path(0.0), jax.jacfwd(path)(0.0), jax.jacfwd(jax.jacfwd(path))(0.0)))()


def test_derivatives_of_a_cut_metric_by_differences():
    output, u = OUTPUTS["categorical"], jnp.sin(3 * Z)
    cut = OutputLowRank(output, 2)
    h = 1e-4
    before, here, after = (cut_by_numpy(output, 2, Z + t * u) for t in (-h, 0.0, h))
    value, first, second = along(cut, Z, u)
    np.testing.assert_allclose(value, here, atol=1e-13)
    np.testing.assert_allclose(first, (after - before) / (2 * h), atol=1e-7)
    np.testing.assert_allclose(second, (after - 2 * here + before) / h**2, atol=1e-5)
    weights = jnp.cos(jnp.arange(36.0)).reshape(1, 6, 6)
    reverse = jax.jit(jax.grad(lambda z: jnp.sum(weights * gram(cut.rows(z, None)))))(Z)
    assert float(jnp.sum(reverse * u)) == pytest.approx(float(jnp.sum(weights * first)), abs=1e-12)

    # With the directions held it is another derivative.
    leading = np.linalg.eigh(np.asarray(gram(output.rows(Z, None))))[1][:, :, -2:]
    onto = leading @ np.swapaxes(leading, 1, 2)
    assert np.abs(onto @ np.asarray(along(output, Z, u)[1]) @ onto - first).max() > 1e-3


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_equal_eigenvalues_have_finite_derivatives(rank):
    """At a network that tells no classes apart all are equal: the cut is arbitrary, its derivative holds it."""
    output, level = OUTPUTS["categorical"], jnp.zeros((1, 6))
    cut = along(OutputLowRank(output, rank), level, Z[:1])
    for array in cut:
        assert np.isfinite(array).all()
    if rank == 5:  # equal ones on one side of the cut do no harm: nothing is cut off
        for ours, whole in zip(cut, along(output, level, Z[:1]), strict=True):
            np.testing.assert_allclose(ours, whole, atol=1e-13)


@pytest.mark.parametrize(
    "cut", [OutputSampled(OUTPUTS["poisson"], 3, jax.random.key(0)), OutputLowRank(OUTPUTS["poisson"], 3)]
)
def test_outputs_of_any_shape_and_precision(cut):
    rows = cut.rows(Z.reshape(3, 2, 3).astype(jnp.float32), None)
    assert rows.shape == (3, 3, 2, 3)
    assert rows.dtype == jnp.float32
    np.testing.assert_allclose(gram(rows), gram(cut.rows(Z, None)), rtol=1e-4, atol=1e-5)
    loss = fm.MeanSquaredError()
    assert cut.coordinates(loss, Z, Z) is None


def test_targets_reach_the_metric_inside():
    loss, labels = fm.SoftmaxCrossEntropy(), jnp.asarray([0, 1, 2])
    cut = OutputLowRank(OutputHessian(loss), 5)
    np.testing.assert_allclose(gram(cut.rows(Z, labels)), gram(OUTPUTS["categorical"].rows(Z, None)), atol=1e-12)
    np.testing.assert_allclose(cut.kept(Z, labels), 1, rtol=1e-12)
    assert OutputSampled(OutputHessian(loss), 2, jax.random.key(0)).variance(Z, labels).shape == (3,)
    with pytest.raises(ValueError, match="`OutputHessian` needs `targets`"):
        cut.kept(Z)


def test_mistakes_are_named():
    output, key = OUTPUTS["categorical"], jax.random.key(0)
    for count in (0, -1, 1.5, True, "3"):
        with pytest.raises(ValueError, match="`probes` must be a whole number from 1, got"):
            OutputSampled(output, count, key)
        with pytest.raises(ValueError, match="`rank` must be a whole number from 1, got"):
            OutputLowRank(output, count)
    with pytest.raises(ValueError, match="`probes` must be fewer than the 5 rows of the metric of the outputs, got 5"):
        OutputSampled(output, 5, key).rows(Z, None)
    with pytest.raises(ValueError, match="`rank` must be at most the 5 rows of the metric of the outputs, got 6"):
        OutputLowRank(output, 6).rows(Z, None)
    for wrong in (0, jnp.zeros(2), jax.random.split(key)):
        with pytest.raises(ValueError, match=r"`key` must be a random key, such as `jax.random.key\(0\)`"):
            OutputSampled(output, 2, wrong)
    for make in (lambda wrong: OutputSampled(wrong, 2, key), lambda wrong: OutputLowRank(wrong, 2)):
        with pytest.raises(ValueError, match="`output` must be a metric of outputs, as"):
            make(jnp.eye(3))
