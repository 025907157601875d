"""Block metrics: products, solves and rates against the dense block diagonal matrix."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import flowmod as fm
from tests.zoo import exponential_mass, generic_mass

MATRIX = np.array([[2.0, 0.3], [0.3, 1.0]])
Y = {"deep": (jnp.asarray([0.7, -0.4]), jnp.asarray(0.5)), "arm": jnp.asarray([0.9, -1.1, 0.6])}
V = {"deep": (jnp.asarray([1.0, -2.0]), jnp.asarray(0.3)), "arm": jnp.asarray([0.2, 0.1, -0.7])}


def nested():
    """Blocks inside a block, one of them dependent on the state, one diagonal; keys not in alphabetical order."""
    deep = fm.BlockMetric(
        (fm.DenseMetric(generic_mass), fm.DiagonalMetric(lambda y, args: 1 + y**2)), weights=np.array([1.0, 4.0])
    )
    return fm.BlockMetric({"deep": deep, "arm": fm.DenseMetric(exponential_mass)}, weights={"deep": 0.5, "arm": 3.0})


def dense(y):
    arm = 3.0 * np.asarray(exponential_mass(y["arm"], None))
    deep = [0.5 * np.asarray(generic_mass(y["deep"][0], None)), [[2.0 * (1 + float(y["deep"][1]) ** 2)]]]
    return scipy.linalg.block_diag(arm, *deep)  # as a tree is raveled: "arm" before "deep"


def flattened(tree):
    return np.hstack([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_products_and_solves_are_those_of_the_block_diagonal_matrix():
    metric, matrix = nested(), dense(Y)

    @jax.jit
    def everything(y, v):
        operator = metric(y)
        solved = metric.sharp(y, v), operator.factorise()(v)
        return operator.as_matrix(), (metric.flat(y, v), operator.mv(v)), solved, metric.norm(y, v)

    formed, products, vectors, length = everything(Y, V)
    operator = metric(Y)
    np.testing.assert_allclose(formed, matrix, rtol=1e-14)
    for product in products:
        assert jax.tree.structure(product) == jax.tree.structure(Y)
        np.testing.assert_allclose(flattened(product), matrix @ flattened(V), rtol=1e-13)
    solved = np.linalg.solve(matrix, flattened(V))
    for vector in vectors:
        np.testing.assert_allclose(flattened(vector), solved, rtol=1e-12)
    np.testing.assert_allclose(length, np.sqrt(flattened(V) @ matrix @ flattened(V)), rtol=1e-14)
    assert lx.is_positive_semidefinite(operator)
    assert not lx.is_diagonal(operator)
    assert fm.check_metric(metric, Y).ok
    # Negative control: without the weights it is another metric.
    plain = fm.BlockMetric(metric.metrics)
    assert np.abs(plain(Y).as_matrix() - matrix).max() > 0.1
    np.testing.assert_allclose(plain.weighted({"arm": 3.0, "deep": 0.5})(Y).as_matrix()[:3, :3], matrix[:3, :3])


def test_a_sequence_keeps_its_order_and_blocks_may_be_diagonal():
    metric = fm.BlockMetric([fm.Euclidean(), fm.DiagonalMetric(lambda y, args: 2 + 0 * y)], weights=[1, 3])
    y = (jnp.ones(2), jnp.ones(1))
    np.testing.assert_allclose(metric(y).as_matrix(), np.diag([1.0, 1, 6]))
    assert lx.is_diagonal(metric(y))
    np.testing.assert_allclose(lx.diagonal(metric(y)), [1.0, 1, 6])


def test_a_block_may_move_with_time():
    moving = fm.MovingMetric(lambda t, y, args: jnp.exp(t) * jnp.asarray(MATRIX))
    metric = fm.BlockMetric((moving, fm.Euclidean()), weights=(1.0, 2.0)).at(0.5)
    matrix = metric((jnp.ones(2), jnp.ones(1))).as_matrix()
    np.testing.assert_allclose(matrix, scipy.linalg.block_diag(np.exp(0.5) * MATRIX, 2.0), rtol=1e-14)


def test_rates_in_a_block_metric_are_those_of_the_dense_one():
    """Both methods, with the motion of state-dependent blocks along the flow."""
    flow = fm.VectorField(lambda t, y, args: jax.tree.map(lambda leaf: -leaf - leaf**3, y))

    def matrix(y, args):
        arm, deep = 3.0 * exponential_mass(y["arm"], None), 0.5 * generic_mass(y["deep"][0], None)
        return jax.scipy.linalg.block_diag(arm, deep, (2.0 * (1 + y["deep"][1] ** 2))[None, None])

    wanted = fm.contraction_rate(flow, Y, metric=fm.DenseMetric(matrix))
    for method in ("dense", "lanczos"):
        np.testing.assert_allclose(fm.contraction_rate(flow, Y, metric=nested(), method=method), wanted, rtol=1e-9)
    assert abs(fm.contraction_rate(flow, Y) - wanted) > 1e-3


def test_float32_stays_float32_and_a_weight_that_is_none_gives_nan():
    y = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (jnp.ones(2), jnp.ones(1)))
    metric = fm.BlockMetric((fm.ConstantMetric(MATRIX), fm.Euclidean()), weights=(1.0, 2.0))
    for tree in (metric.flat(y, y), metric.sharp(y, y), metric(y).mv(y)):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}

    def weighed(weight):
        return fm.BlockMetric((fm.Euclidean(), fm.Euclidean()), weights=(1.0, weight)).sharp(y, y)[1]

    assert np.isnan(jax.jit(weighed)(-1.0)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fm.BlockMetric(()), "`metrics` must be a sequence or a dict"),
        (lambda: fm.BlockMetric((fm.Euclidean(), MATRIX)), r"`metrics\[1\]` must be a metric"),
        (lambda: fm.BlockMetric((fm.Euclidean(),) * 2, [1.0]), "`weights` must be one number for each of 2 modules"),
        (lambda: fm.BlockMetric((fm.Euclidean(),) * 2, [1.0, 0.0]), r"`weights\[1\]` must be a positive number, got 0"),
        (lambda: fm.BlockMetric((fm.Euclidean(),) * 2, [1.0, np.nan]), r"`weights\[1\]` must be a positive number"),
        (lambda: fm.BlockMetric((fm.Euclidean(),) * 2, [1.0, "x"]), r"`weights\[1\]` must be a positive number"),
        (lambda: fm.BlockMetric({"a": fm.Euclidean()}, [1.0]), "named modules have no order"),
        (lambda: fm.BlockMetric((fm.Euclidean(),) * 2).flat(jnp.ones(2), jnp.ones(2)), "states of 2 modules"),
        (lambda: fm.BlockMetric({"a": fm.Euclidean()}).flat({"b": jnp.ones(2)}, {}), r"dict of the modules \['a'\]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
