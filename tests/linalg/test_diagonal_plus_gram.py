"""The lineax operator `D + K^T K` on its own against dense NumPy: products, solves, roots, determinants, slopes."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from flowmod.linalg import DenseRows, DiagonalPlusGram, JoinedRows, KhatriRaoRows, RepeatedRows, RowSide, Woodbury
from flowmod.linalg.riccati import RiccatiSide
from flowmod.linalg.sides import ParameterSide, solve_in_turn

N, C, D_IN, D_OUT = 5, 2, 4, 3


def khatri_rao(seed=0, layers=None):
    rng = np.random.default_rng(seed)
    lead = () if layers is None else (layers,)
    costates = jnp.asarray(rng.normal(size=(*lead, N, C, D_OUT)))
    return KhatriRaoRows(costates, jnp.asarray(rng.normal(size=(*lead, N, D_IN))), True)


def short_rows(seed=1, columns=6):
    rng = np.random.default_rng(seed)
    return DenseRows(jnp.asarray(rng.normal(size=(N, C, columns))), ((2, columns // 2),))


FACTORS = {
    "more columns": lambda: khatri_rao(),
    "more rows": lambda: short_rows(),
    "joined": lambda: JoinedRows((khatri_rao(2), short_rows(3), RepeatedRows(khatri_rao(4, layers=3)))),
    "repeated": lambda: RepeatedRows(khatri_rao(5, layers=3)),
}
MASSES = ("scalar", "elements")


def operator_of(kind, mass="elements"):
    factor = FACTORS[kind]()
    rng = np.random.default_rng(7)
    if mass == "scalar":
        return DiagonalPlusGram(factor, tuple(jnp.asarray(0.3) for _ in factor.shapes))
    return DiagonalPlusGram(factor, tuple(jnp.asarray(rng.uniform(0.5, 2.0, shape)) for shape in factor.shapes))


def dense(operator):
    K = np.asarray(operator.rows.to_dense())
    shapes = operator.rows.shapes
    D = [np.broadcast_to(d, shape).ravel() for d, shape in zip(operator.diagonal, shapes, strict=True)]
    return np.diag(np.concatenate(D)) + K.T @ K


def vector_for(operator, seed=9):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in operator.rows.shapes)


def flat(part):
    return np.concatenate([np.ravel(leaf) for leaf in part])


def relative(found, wanted):
    return np.abs(found - wanted).max() / np.abs(wanted).max()


every = pytest.mark.parametrize(("kind", "mass"), [(kind, mass) for kind in FACTORS for mass in MASSES])


@every
def test_products_solves_and_determinant_are_those_of_the_matrix(kind, mass):
    operator = operator_of(kind, mass)
    A, v = dense(operator), vector_for(operator)
    x = np.linalg.solve(A, flat(v))
    assert relative(operator.as_matrix(), A) < 1e-14
    assert relative(flat(operator.mv(v)), A @ flat(v)) < 1e-14
    assert relative(flat(operator.solve(v)), x) < 1e-12
    assert relative(flat(lx.linear_solve(operator, v, Woodbury()).value), x) < 1e-12
    for side in (RowSide, ParameterSide):
        solved = solve_in_turn((side.of(operator.rows, operator.diagonal),), (v,))[0]
        assert relative(flat(solved), x) < 1e-12
    assert float(operator.logdet()) == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-12)
    heavier = DiagonalPlusGram(operator.rows, tuple(1.01 * d for d in operator.diagonal))
    assert relative(flat(heavier.solve(v)), x) > 1e-4  # negative control


@pytest.mark.parametrize("side", [RowSide, ParameterSide, RiccatiSide])
def test_coordinates_in_the_rows_are_pushed_through(side):
    operator = operator_of("joined", "scalar")
    rng = np.random.default_rng(3)
    e, v = rng.normal(size=(N, C)), vector_for(operator)
    K = np.asarray(operator.rows.to_dense())
    wanted = np.linalg.solve(dense(operator), flat(v) + K.T @ e.ravel())
    factored = side.of(operator.rows, operator.diagonal)
    assert relative(flat(solve_in_turn((factored,), (v,), jnp.asarray(e))[0]), wanted) < 1e-12
    light = DiagonalPlusGram(operator.rows, tuple(jnp.asarray(1e-12) for _ in operator.diagonal))
    nothing = tuple(jnp.zeros_like(leaf) for leaf in v)
    if side is not ParameterSide:
        # The limit of a small mass is the solution of least norm: K has more columns than rows.
        least = np.linalg.lstsq(K, e.ravel(), rcond=None)[0]
        pushed = solve_in_turn((side.of(light.rows, light.diagonal),), (nothing,), jnp.asarray(e))[0]
        assert relative(flat(pushed), least) < 1e-7


def test_the_riccati_recursion_multiplies_the_determinants_of_the_layers():
    operator = operator_of("joined")
    K = np.asarray(operator.rows.to_dense())
    diagonal = np.concatenate([np.ravel(d) for d in operator.diagonal])
    lowers = RiccatiSide.of(operator.rows, operator.diagonal).lower
    logs = 2 * sum(np.log(np.diag(lower)).sum() for lower in np.asarray(lowers))
    assert logs == pytest.approx(np.linalg.slogdet(np.eye(len(K)) + (K / diagonal) @ K.T)[1], rel=1e-12)
    assert len(lowers) == 5  # two layers and one that is repeated three times
    with pytest.raises(ValueError, match=r"FullMetric"):
        RiccatiSide.of(khatri_rao(), (jnp.asarray(1.0), jnp.asarray(1.0)))


@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("kind", ["more columns", "more rows", "joined"])
def test_a_square_root_and_its_inverse(kind, mass):
    operator = operator_of(kind, mass)
    A, shapes = dense(operator), operator.rows.shapes
    edges = np.cumsum([np.prod(shape) for shape in shapes])[:-1]

    def columns(fn):
        basis = np.split(np.eye(len(A)), edges, axis=1)
        parts = [jnp.asarray(b.reshape(-1, *shape)) for b, shape in zip(basis, shapes, strict=True)]
        images = jax.jit(jax.vmap(fn))(tuple(parts))
        return np.concatenate([np.asarray(leaf).reshape(len(A), -1) for leaf in images], axis=1).T

    S, T = columns(operator.sqrt_mv), columns(operator.inv_sqrt_mv)
    assert relative(S @ S.T, A) < 1e-12
    assert relative(T @ T.T, np.linalg.inv(A)) < 1e-11
    assert relative(T.T @ S, np.eye(len(A))) < 1e-11
    if mass == "scalar":
        assert relative(S, S.T) < 1e-12


def test_the_condition_number_is_that_of_the_rounding():
    for kind in ("more columns", "joined"):
        operator = operator_of(kind)
        diagonal = np.concatenate([np.ravel(d) for d in operator.diagonal])
        scaled = dense(operator) / np.sqrt(np.outer(diagonal, diagonal))
        assert float(operator.condition()) == pytest.approx(np.linalg.cond(scaled), rel=0.05)
        assert float(operator.condition()) <= np.linalg.cond(scaled) * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["more columns", "more rows"])
def test_derivatives_of_a_solve_by_lineax_and_by_the_operator(kind):
    operator = operator_of(kind)
    v, K = vector_for(operator), operator.rows.to_dense()
    D = jnp.concatenate([d.ravel() for d in operator.diagonal])

    def naive(scale):
        rows = K * (1 + jnp.sin(scale * jnp.arange(float(len(K)))))[:, None]
        A = jnp.diag(scale * D) + rows.T @ rows
        return jnp.sum(jnp.linalg.solve(A, jnp.concatenate([leaf.ravel() for leaf in v])) ** 3)

    def ours(solve):
        def value(scale):
            rows = operator.rows.scaled(1 + jnp.sin(scale * jnp.arange(float(N * C))).reshape(N, C))
            parts = solve(DiagonalPlusGram(rows, tuple(scale * d for d in operator.diagonal)))
            return sum(jnp.sum(leaf**3) for leaf in parts)

        return value

    by_lineax = ours(lambda operator: lx.linear_solve(operator, v, Woodbury()).value)
    by_operator = ours(lambda operator: operator.solve(v))
    for fn in (by_lineax, by_operator):
        assert float(fn(0.7)) == pytest.approx(float(naive(0.7)), rel=1e-12)
        assert float(jax.jit(jax.grad(fn))(0.7)) == pytest.approx(float(jax.grad(naive)(0.7)), rel=1e-10)
        assert float(jax.jvp(fn, (0.7,), (1.0,))[1]) == pytest.approx(float(jax.grad(naive)(0.7)), rel=1e-10)
    second = float(jax.grad(jax.grad(by_operator))(0.7))
    assert second == pytest.approx(float(jax.grad(jax.grad(naive))(0.7)), rel=1e-9)
    many = jnp.asarray([0.5, 0.7])
    np.testing.assert_allclose(jax.vmap(by_lineax)(many), [naive(0.5), naive(0.7)], rtol=1e-12)
    slope = jax.grad(lambda s: DiagonalPlusGram(operator.rows.scaled(s * jnp.ones((N, C))), operator.diagonal).logdet())
    wanted = jax.grad(lambda s: jnp.linalg.slogdet(jnp.diag(D) + s**2 * K.T @ K)[1])
    assert float(slope(0.7)) == pytest.approx(float(wanted(0.7)), rel=1e-10)


def test_lineax_knows_what_it_is():
    operator = operator_of("more columns")
    assert lx.is_symmetric(operator)
    assert lx.is_positive_semidefinite(operator)
    assert not lx.is_diagonal(operator)
    assert operator.T is operator
    v = vector_for(operator)
    # Its own solver for such operators, which forms the matrix, and conjugate gradients give the same.
    for solver in (lx.AutoLinearSolver(well_posed=True), lx.CG(rtol=1e-13, atol=1e-13)):
        found = lx.linear_solve(operator, v, solver).value
        assert relative(flat(found), np.linalg.solve(dense(operator), flat(v))) < 1e-10
    np.testing.assert_allclose(lx.diagonal(operator), np.diag(dense(operator)), rtol=1e-13)
    with pytest.raises(ValueError, match=r"`Woodbury` solves `DiagonalPlusGram` operators, got MatrixLinearOperator"):
        lx.linear_solve(lx.MatrixLinearOperator(jnp.eye(2)), jnp.ones(2), Woodbury())


def test_a_mass_that_is_not_positive_gives_no_number():
    operator = operator_of("more columns", "scalar")
    for mass in (0.0, -0.1):
        broken = DiagonalPlusGram(operator.rows, tuple(jnp.asarray(mass) for _ in operator.diagonal))
        assert not np.isfinite(flat(broken.solve(vector_for(operator)))).all()


def test_roots_of_repeated_layers_are_taken_one_by_one():
    operator = operator_of("repeated", "scalar")
    with pytest.raises(ValueError, match="one layer at a time"):
        operator.sqrt_mv(vector_for(operator))
