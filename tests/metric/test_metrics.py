"""Metrics turn covectors into vectors and back, in the state's own tree and precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import flowmod as fm
from tests.zoo import exponential_mass, generic_mass

MATRIX = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])
TREE = {"a": jnp.asarray([1.0, -0.5]), "b": jnp.asarray(0.25)}


def metrics_on_tree():
    diagonal = {"a": jnp.asarray([2.0, 3.0]), "b": jnp.asarray(0.5)}
    return {
        "euclidean": (fm.Euclidean(), np.eye(3)),
        "constant": (fm.ConstantMetric(MATRIX), MATRIX),
        "dense": (fm.DenseMetric(lambda y, args: jnp.asarray(MATRIX) * (1 + y["b"] ** 2)), MATRIX * 1.0625),
        "diagonal": (fm.DiagonalMetric(lambda y, args: diagonal), np.diag([2.0, 3.0, 0.5])),
        "moving": (fm.MovingMetric(lambda t, y, args: jnp.asarray(MATRIX) * (1 + t)).at(2.0), 3 * MATRIX),
    }


@pytest.mark.parametrize("name", list(metrics_on_tree()))
def test_sharp_and_flat_are_solve_and_product(name):
    """Against NumPy on the raveled tree."""
    metric, matrix = metrics_on_tree()[name]
    v = {"a": jnp.asarray([0.7, 1.1]), "b": jnp.asarray(-2.0)}
    flat_v = np.array([0.7, 1.1, -2.0])
    np.testing.assert_allclose(metric(TREE).as_matrix(), matrix, rtol=1e-14)
    np.testing.assert_allclose(np.hstack(jax.tree.leaves(metric.flat(TREE, v))), matrix @ flat_v, rtol=1e-14)
    solved = np.hstack(jax.tree.leaves(metric.sharp(TREE, v)))
    np.testing.assert_allclose(solved, np.linalg.solve(matrix, flat_v), rtol=1e-13)
    assert jax.tree.structure(metric.sharp(TREE, v)) == jax.tree.structure(TREE)
    np.testing.assert_allclose(metric.inner(TREE, v, v), flat_v @ matrix @ flat_v, rtol=1e-14)
    np.testing.assert_allclose(metric.norm(TREE, v), np.sqrt(flat_v @ matrix @ flat_v), rtol=1e-14)
    assert lx.is_positive_semidefinite(metric(TREE))


@pytest.mark.parametrize("name", list(metrics_on_tree()))
def test_check_metric_passes_good_ones(name):
    metric, matrix = metrics_on_tree()[name]
    report = fm.check_metric(metric, TREE)
    assert report.ok, str(report)
    np.testing.assert_allclose(report.smallest_eigenvalue, np.linalg.eigvalsh(matrix)[0], rtol=1e-12)
    np.testing.assert_allclose(report.condition, np.linalg.cond(matrix), rtol=1e-10)


def test_check_metric_reports_what_is_wrong():
    y = jnp.asarray([0.5, 2.0])
    skewed = fm.check_metric(fm.DenseMetric(lambda y, args: jnp.asarray([[1.0, 0.5], [0.0, 1.0]])), y)
    assert not skewed.ok
    assert not skewed.symmetric
    assert "symmetric          NO" in str(skewed)
    indefinite = fm.check_metric(fm.DenseMetric(lambda y, args: jnp.asarray([[1.0, 2.0], [2.0, 1.0]])), y)
    assert not indefinite.ok
    assert indefinite.symmetric
    np.testing.assert_allclose(indefinite.smallest_eigenvalue, -1.0)
    infinite = fm.check_metric(fm.DenseMetric(lambda y, args: jnp.asarray([[jnp.inf, 0.0], [0.0, 1.0]])), y)
    assert not infinite.finite
    assert not infinite.ok


class _WrongSharp(fm.AbstractMetric):
    """A metric whose `sharp` forgets the matrix: what `check_metric` is for."""

    def __call__(self, y, args=None):
        return lx.MatrixLinearOperator(2 * jnp.eye(2), lx.positive_semidefinite_tag)

    def flat(self, y, vector, args=None):
        return 2 * vector

    def sharp(self, y, covector, args=None):
        return covector

    def at(self, t):
        return self


def test_check_metric_finds_a_sharp_that_is_not_the_inverse_of_flat():
    report = fm.check_metric(_WrongSharp(), jnp.asarray([1.0, 2.0]))
    assert report.symmetric
    assert report.positive
    assert not report.consistent
    assert not report.ok


def test_dense_metric_depends_on_state_and_args():
    metric = fm.DenseMetric(lambda y, args: args * generic_mass(y, None))
    y = jnp.asarray([0.7, -0.4])
    expected = 3.0 * np.array([[1.49, -0.056], [-0.056, 2 + np.sin(0.3)]])
    np.testing.assert_allclose(metric(y, 3.0).as_matrix(), expected, rtol=1e-14)


def test_sharp_is_differentiable():
    """The derivative of a solve against central differences."""
    metric = fm.DenseMetric(exponential_mass)
    y, g, d = jnp.asarray([0.9, -1.1, 0.6]), jnp.asarray([1.0, 2.0, -1.0]), jnp.asarray([0.3, -0.2, 0.5])

    def solve(y):
        return metric.sharp(y, g)

    _, along = jax.jvp(jax.jit(solve), (y,), (d,))
    h = 1e-5
    np.testing.assert_allclose(along, (solve(y + h * d) - solve(y - h * d)) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize("make", ["euclidean", "constant", "dense", "diagonal", "moving"])
def test_float32_stays_float32_where_the_metric_is_double(make):
    metric, _ = metrics_on_tree()[make]
    y = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), TREE)
    metric = fm.DenseMetric(lambda y, args: jnp.asarray(MATRIX)) if make == "dense" else metric
    for tree in (metric.sharp(y, y), metric.flat(y, y)):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}


def test_leaves_that_are_no_floats_pass_through():
    module = eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0))
    vector = fm.Euclidean().sharp(module, eqx.filter(module, eqx.is_inexact_array))
    assert vector.activation is None
    np.testing.assert_array_equal(vector.layers[0].weight, module.layers[0].weight)


def test_constant_metric_takes_a_tagged_operator_only():
    operator = lx.DiagonalLinearOperator(jnp.asarray([2.0, 4.0]))
    with pytest.raises(ValueError, match="positive_semidefinite_tag"):
        fm.ConstantMetric(operator)
    metric = fm.ConstantMetric(lx.TaggedLinearOperator(operator, lx.positive_semidefinite_tag))
    np.testing.assert_allclose(metric.sharp(jnp.ones(2), jnp.ones(2)), [0.5, 0.25])
    with pytest.raises(ValueError, match="operator on"):
        metric.sharp(jnp.ones(3), jnp.ones(3))


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[1.0, 2.0, 3.0]], "shape"),
        ([1.0, 2.0], "shape"),
        ([[1.0, 0.5], [0.0, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive definite"),
        ([[np.nan, 0.0], [0.0, 1.0]], "finite"),
    ],
)
def test_bad_constant_matrices_are_refused(matrix, words):
    with pytest.raises(ValueError, match=words):
        fm.ConstantMetric(np.asarray(matrix))


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda y, args: jnp.ones((2, 3)), "shape"),
        (lambda y, args: jnp.asarray([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda y, args: -jnp.eye(2), "positive definite"),
    ],
)
def test_bad_dense_metrics_are_refused_where_the_state_is_concrete(fn, words):
    metric = fm.DenseMetric(fn)
    with pytest.raises(ValueError, match=words):
        metric(jnp.ones(2))
    with pytest.raises(ValueError, match=words):
        metric.sharp(jnp.ones(2), jnp.ones(2))


@pytest.mark.parametrize(
    "fn", [lambda y, args: jnp.asarray([[1.0, 0.5], [0.0, 1.0]]), lambda y, args: jnp.asarray([[1.0, 2.0], [2.0, 1.0]])]
)
def test_bad_dense_metrics_give_nan_where_the_state_is_traced(fn):
    """A Cholesky factorisation alone would solve the asymmetric one silently, with one triangle of it."""
    vector = jax.jit(fm.DenseMetric(fn).sharp)(jnp.ones(2), jnp.ones(2))
    assert np.isnan(vector).all()


def test_bad_diagonal_metrics_are_refused():
    y = {"u": jnp.asarray(1.0)}
    with pytest.raises(ValueError, match="positive, got"):
        fm.DiagonalMetric(lambda y, args: {"u": -1.0})(y)
    with pytest.raises(ValueError, match="tree like the state"):
        fm.DiagonalMetric(lambda y, args: {"w": 1.0})(y)
    with pytest.raises(ValueError, match=r"shape \(\) at 'u'"):
        fm.DiagonalMetric(lambda y, args: {"u": jnp.ones(2)})(y)
    traced = jax.jit(fm.DiagonalMetric(lambda y, args: {"u": -1.0 * y["u"]}).sharp)(y, y)
    assert np.isnan(traced["u"])


def test_a_moving_metric_needs_a_time():
    metric = fm.MovingMetric(lambda t, y, args: jnp.eye(2))
    for use in (
        lambda: metric(jnp.ones(2)),
        lambda: metric.sharp(jnp.ones(2), jnp.ones(2)),
        lambda: metric.flat(jnp.ones(2), jnp.ones(2)),
    ):
        with pytest.raises(ValueError, match=r"metric\.at\(t\)"):
            use()


@pytest.mark.parametrize("make", [fm.DenseMetric, fm.DiagonalMetric, fm.MovingMetric])
def test_functions_of_the_wrong_arguments_are_refused(make):
    with pytest.raises(ValueError, match=r"must be a function of \(.*y, args\)"):
        make(lambda y: y)
    with pytest.raises(ValueError, match="must be a function"):
        make(3.0)


def test_steepest_descent_gives_value_covector_and_vector():
    matrix = jnp.asarray([[2.0, 0.5], [0.5, 1.0]])
    value, covector, vector = fm.steepest_descent(
        lambda y, args: 0.5 * args * jnp.sum(y**2), fm.ConstantMetric(matrix), jnp.asarray([1.0, 2.0]), 3.0
    )
    np.testing.assert_allclose(value, 7.5)
    np.testing.assert_allclose(covector, [3.0, 6.0])
    np.testing.assert_allclose(vector, -np.linalg.solve(matrix, [3.0, 6.0]), rtol=1e-14)


def test_a_potential_must_be_a_scalar_float():
    with pytest.raises(ValueError, match=r"scalar, got an array of shape \(2,\)"):
        fm.steepest_descent(lambda y, args: y, fm.Euclidean(), jnp.ones(2))
    with pytest.raises(ValueError, match="float, got int"):
        fm.steepest_descent(lambda y, args: jnp.asarray(1), fm.Euclidean(), jnp.ones(2))
