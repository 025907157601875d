"""The preconditioner against dense matrices: what it is, where it is exact, and what it saves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from flowmod.linalg import (
    AutodiffRows,
    DenseRows,
    JoinedRows,
    KhatriRaoRows,
    PositionRows,
    RepeatedRows,
    conjugate_gradients,
)
from flowmod.linalg.preconditioner import preconditioner
from flowmod.linalg.sides import product

OUT, IN = 4, 5


def affine(seed=0, samples=40, rank=None, bias=True):
    rng = np.random.default_rng(seed)
    costates = rng.normal(size=(samples, 3, OUT)) * np.geomspace(1, 0.03, OUT) / np.sqrt(samples)
    inputs = rng.normal(size=(samples, IN)) * np.geomspace(3, 0.03, IN)
    if rank == 1:
        costates, inputs = np.broadcast_to(costates[:1], costates.shape), np.broadcast_to(inputs[:1], inputs.shape)
    return KhatriRaoRows(jnp.asarray(costates), jnp.asarray(inputs), bias)


def masses(kind, bias=True):
    rng = np.random.default_rng(5)
    weights = {
        "scalar": 0.1,
        "by output": rng.uniform(0.01, 1, size=(OUT, 1)),
        "by input": rng.uniform(0.01, 1, size=(1, IN)),
        "by element": rng.uniform(0.01, 1, size=(OUT, IN)),
    }[kind]
    of_bias = rng.uniform(0.1, 1, size=OUT) if kind in ("by output", "by element") else 0.2
    return (jnp.asarray(weights), jnp.asarray(of_bias))[: 1 + bias]


def dense(linear, shapes):
    """The matrix of a map between parts, a column for each number."""
    flat, unravel = ravel_pytree(tuple(jnp.zeros(shape) for shape in shapes))
    return np.asarray(jax.jit(jax.vmap(lambda x: ravel_pytree(linear(unravel(x)))[0]))(jnp.eye(flat.size)).T)


def matrices(rows, mass):
    """The preconditioner and the operator, as matrices."""
    inverse = preconditioner((rows,), (mass,))
    return dense(lambda x: inverse((x,))[0], rows.shapes), dense(lambda x: product(rows, mass, x), rows.shapes)


def condition(P, A):
    root = np.linalg.cholesky(P)
    values = np.linalg.eigvalsh(root.T @ A @ root)
    return values[-1] / values[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["scalar", "by output", "by input", "by element"])
def test_it_is_positive_and_improves_the_condition(kind, bias):
    rows, mass = affine(bias=bias), masses(kind, bias)
    P, A = matrices(rows, mass)
    np.testing.assert_allclose(P, P.T, atol=1e-12 * np.abs(P).max())
    entries = np.concatenate([np.broadcast_to(m, s).ravel() for m, s in zip(mass, rows.shapes, strict=True)])
    assert np.linalg.eigvalsh(P)[0] > 0
    assert condition(P, A) < 0.4 * condition(np.diag(1 / entries), A)


def test_it_is_the_kronecker_product_that_the_docstring_gives():
    rows, mu = affine(), 0.1
    P, _ = matrices(rows, (jnp.asarray(mu), jnp.asarray(mu)))
    costates, inputs = np.asarray(rows.costates), np.asarray(rows.inputs)
    extended = np.concatenate([inputs, np.ones((40, 1))], axis=1)
    S = sum(p.T @ p for p in costates)
    weights = np.array([np.trace(p.T @ p) for p in costates])
    A = sum(w * np.outer(z, z) for w, z in zip(weights, extended, strict=True)) / weights.sum()
    inverse = np.linalg.inv(np.kron(S, A) + mu * np.eye(OUT * (IN + 1)))
    order = np.arange(OUT * (IN + 1)).reshape(OUT, IN + 1)
    order = np.concatenate([order[:, :-1].ravel(), order[:, -1]])
    np.testing.assert_allclose(P, inverse[np.ix_(order, order)], rtol=1e-9, atol=1e-11)
    assert np.trace(np.kron(S, A)) == pytest.approx(np.trace(np.asarray(rows.normal())))


@pytest.mark.parametrize("kind", ["scalar", "by output", "by input"])
def test_it_is_exact_for_one_sample_where_the_mass_is_a_product(kind):
    rows = affine(rank=1, bias=False)
    mass = masses(kind, bias=False)
    P, A = matrices(rows, mass)
    np.testing.assert_allclose(P @ A, np.eye(len(A)), atol=1e-9)
    # Negative control: samples that differ are not one product.
    P, A = matrices(affine(bias=False), mass)
    assert np.abs(P @ A - np.eye(len(A))).max() > 0.01


def test_layers_in_one_block_and_layers_on_top_of_each_other():
    one, other = affine(0), affine(1)
    mass = masses("by element")
    parts = [matrices(rows, mass)[0] for rows in (one, other)]
    joined, _ = matrices(JoinedRows((one, other)), mass + mass)
    n = len(parts[0])
    np.testing.assert_allclose(joined[:n, :n], parts[0], atol=1e-10)
    np.testing.assert_allclose(joined[n:, n:], parts[1], atol=1e-10)
    assert not np.any(joined[:n, n:])
    stacked = RepeatedRows(jax.tree.map(lambda a, b: jnp.stack([a, b]), one, other))
    double = tuple(jnp.stack([entry, entry]) for entry in mass)
    repeated, _ = matrices(stacked, double)
    for places, part in zip(stacked.places, parts, strict=True):
        np.testing.assert_allclose(repeated[np.ix_(places, places)], part, atol=1e-10)
    scalar = jnp.asarray(0.1)
    assert matrices(stacked, (scalar, scalar))[0].shape == repeated.shape


def test_positions_and_kinds_that_it_knows_nothing_of():
    rng = np.random.default_rng(3)
    rows = PositionRows(jnp.asarray(rng.normal(size=(20, 3, 2, OUT))), jnp.asarray(rng.normal(size=(20, 2, IN))), True)
    mass = masses("by output")
    P, A = matrices(rows, mass)
    assert np.linalg.eigvalsh((P + P.T) / 2)[0] > 0
    entries = np.concatenate([np.broadcast_to(m, s).ravel() for m, s in zip(mass, rows.shapes, strict=True)])
    assert condition(P, A) < condition(np.diag(1 / entries), A)
    K = jnp.asarray(rng.normal(size=(6, 2, 7)))
    part = jnp.linspace(0.1, 1.0, 7)
    generic = AutodiffRows(lambda part, z: z @ part[0], (part,), K, jnp.ones((6, 1, 2)))
    for other in (DenseRows(K, ((7,),)), generic):
        np.testing.assert_allclose(matrices(other, (part,))[0], np.diag(1 / np.asarray(part)))


def test_a_layer_too_wide_for_its_samples_gets_the_mass_alone():
    rows, mass = affine(samples=1), (jnp.asarray(0.5), jnp.asarray(0.5))
    wide = KhatriRaoRows(jnp.ones((1, 1, 2)), jnp.ones((1, 60)), False)
    np.testing.assert_allclose(matrices(wide, mass[:1])[0], 2 * np.eye(120))
    assert not np.allclose(matrices(rows, mass)[0], 2 * np.eye(OUT * IN + OUT))


def test_it_saves_steps_and_stays_right():
    factors, mass = (affine(0), affine(1, bias=False)), (masses("by output"), masses("scalar", bias=False))
    mass = jax.tree.map(lambda m: 1e-3 * m, mass)
    b = tuple(rows.rmv(jnp.cos(jnp.arange(120.0)).reshape(40, 3)) for rows in factors)
    operator = lambda x: tuple(product(r, m, v) for r, m, v in zip(factors, mass, x, strict=True))  # noqa: E731

    solve = jax.jit(
        lambda b, aided: conjugate_gradients(operator, b, 1e-9, preconditioner(factors, mass) if aided else None),
        static_argnums=1,
    )
    plain, aided = solve(b, False), solve(b, True)
    assert bool(plain.converged)
    assert bool(aided.converged)
    assert np.all(np.asarray(aided.iterations) < 0.7 * np.asarray(plain.iterations))
    for rows, m, (weight, *_), right in zip(factors, mass, aided.value, b, strict=True):
        A = dense(lambda x, rows=rows, m=m: product(rows, m, x), rows.shapes)
        exact = np.linalg.solve(A, np.concatenate([np.ravel(leaf) for leaf in right]))
        np.testing.assert_allclose(np.ravel(weight), exact[: OUT * IN], rtol=1e-5, atol=1e-7 * np.abs(exact).max())


def test_costates_of_zero_and_the_derivative_of_a_solve():
    rows = affine()
    nothing = rows.scaled(jnp.zeros(()))
    mass = (jnp.asarray(0.5), jnp.asarray(0.25))
    P, _ = matrices(nothing, mass)
    np.testing.assert_allclose(np.diag(P), np.repeat([2.0, 4.0], [OUT * IN, OUT]))
    b = (rows.rmv(jnp.ones((40, 3))),)

    def size(scale):
        own = rows.scaled(scale)
        operator = lambda x: (product(own, mass, x[0]),)  # noqa: E731
        value = conjugate_gradients(operator, b, 1e-13, preconditioner((own,), (mass,))).value
        return sum(jnp.sum(leaf**2) for leaf in value[0])

    slope = float(jax.jit(jax.grad(size))(1.0))
    assert slope == pytest.approx((float(size(1 + 1e-5)) - float(size(1 - 1e-5))) / 2e-5, rel=1e-6)
