"""Conjugate gradients: dense solves as the reference, a residual that does not lie, and no silent stop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowmod.linalg import conjugate_gradients
from flowmod.linalg.conjugate_gradients import MOST_STEPS

CONDITIONS = (1e4, 3.0, 2.0)


def matrices(dtype=np.float64, conditions=CONDITIONS):
    rng = np.random.default_rng(0)
    found = []
    for n, condition in zip((30, 20, 10), conditions, strict=True):
        q, _ = np.linalg.qr(rng.normal(size=(n, n)))
        found.append((q @ np.diag(np.geomspace(1, condition, n)) @ q.T).astype(dtype))
    return found


def right_hand_side(dtype=np.float64):
    rng = np.random.default_rng(1)
    return tuple((jnp.asarray(rng.normal(size=n).astype(dtype)),) for n in (30, 20, 10))


def product(matrices):
    held = [jnp.asarray(matrix) for matrix in matrices]
    return lambda x: tuple((matrix @ v[0],) for matrix, v in zip(held, x, strict=True))


def relative(matrix, x, b):
    return np.linalg.norm(matrix @ np.asarray(x) - np.asarray(b)) / np.linalg.norm(b)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-10])
def test_the_residual_is_the_true_one_and_what_was_asked(tolerance, preconditioned):
    As, b = matrices(), right_hand_side()
    inverse = product([np.linalg.inv(A + 0.3 * np.diag(np.diag(A))) for A in As]) if preconditioned else None
    solution = jax.jit(lambda b: conjugate_gradients(product(As), b, tolerance, inverse))(b)
    assert bool(solution.converged)
    for i, A in enumerate(As):
        x, right = np.asarray(solution.value[i][0]), np.asarray(b[i][0])
        true = relative(A, x, right)
        assert true <= tolerance
        assert float(solution.residual[i]) == pytest.approx(true, rel=1e-3, abs=1e-14)
        exact = np.linalg.solve(A, right)
        # The error is at most the condition number times the residual.
        assert np.linalg.norm(x - exact) <= 1.01 * CONDITIONS[i] * true * np.linalg.norm(exact) + 1e-13
        # Negative control: of a solution that is a little wrong, the residual is another one.
        assert relative(A, 1.01 * x, right) > 2 * tolerance


def test_a_good_preconditioner_saves_steps_and_a_perfect_one_all_but_one():
    As, b = matrices(), right_hand_side()
    plain = conjugate_gradients(product(As), b, 1e-8)
    perfect = conjugate_gradients(product(As), b, 1e-8, product([np.linalg.inv(A) for A in As]))
    assert plain.iterations.shape == (3,)
    assert int(plain.iterations[0]) > 20 > int(plain.iterations[2])  # each block stops by itself
    assert np.asarray(perfect.iterations).max() <= 2
    assert bool(perfect.converged)


@pytest.mark.parametrize("kind", ["negative", "indefinite", "not symmetric", "singular", "not a number"])
def test_a_wrong_preconditioner_is_noticed_or_does_no_harm(kind):
    As, b = matrices(), right_hand_side()
    rng = np.random.default_rng(2)
    wrong = {
        "negative": [-np.eye(len(A)) for A in As],
        "indefinite": [np.diag(np.where(np.arange(len(A)) % 2, 1.0, -1.0)) for A in As],
        "not symmetric": [np.eye(len(A)) + 2 * np.triu(rng.normal(size=A.shape)) for A in As],
        "singular": [np.diag((np.arange(len(A)) > 0) * 1.0) for A in As],
        "not a number": [np.full(A.shape, np.nan) for A in As],
    }[kind]
    solution = conjugate_gradients(product(As), b, 1e-8, product(wrong))
    true = [relative(A, x[0], right[0]) for A, x, right in zip(As, solution.value, b, strict=True)]
    np.testing.assert_allclose(solution.residual, true, rtol=1e-3, atol=1e-12)
    assert bool(solution.converged) == (max(true) <= 1e-7)
    if kind != "indefinite":
        assert not bool(solution.converged)
    assert np.asarray(solution.iterations).max() <= 600


def test_an_operator_that_is_not_positive_is_noticed():
    As, b = matrices(), right_hand_side()
    broken = [As[0] - 50 * np.eye(30), *As[1:]]
    solution = conjugate_gradients(product(broken), b, 1e-8)
    true = relative(broken[0], solution.value[0][0], b[0][0])
    assert float(solution.residual[0]) == pytest.approx(true, rel=1e-3)
    assert bool(solution.converged) == (true <= 1e-7)
    assert np.asarray(solution.residual[1:]).max() <= 1e-8


def test_zeros_in_the_right_hand_side_and_blocks_of_them():
    As, b = matrices(), right_hand_side()
    sparse = (b[0][0].at[:25].set(0.0),), (jnp.zeros(20),), b[2]
    solution = conjugate_gradients(product(As), sparse, 1e-10)
    assert bool(solution.converged)
    np.testing.assert_allclose(solution.value[0][0], np.linalg.solve(As[0], sparse[0][0]), atol=1e-9)
    assert not np.any(np.asarray(solution.value[1][0]))
    assert int(solution.iterations[1]) == 0
    assert int(solution.iterations[0]) > 0


@pytest.mark.parametrize("condition", [1e3, 1e6])
def test_single_precision_asked_for_too_much_ends_at_rounding(condition):
    As = matrices(np.float32, (condition, 3.0, 2.0))
    solution = conjugate_gradients(product(As), right_hand_side(np.float32), 1e-12)
    assert np.asarray(solution.iterations).max() < MOST_STEPS / 2
    assert float(solution.residual.max()) > 1e-12
    exact = [A.astype(np.float64) for A in As]
    true = [relative(A, x[0], b[0]) for A, x, b in zip(exact, solution.value, right_hand_side(np.float32), strict=True)]
    np.testing.assert_allclose(solution.residual, true, rtol=0.5, atol=1e-5)
    assert bool(solution.converged) == (float(solution.residual.max()) <= 100 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_length_of_the_right_hand_side_does_not_matter(size):
    As, b = matrices(np.float32), right_hand_side(np.float32)
    unit = conjugate_gradients(product(As), b, 1e-4)
    scaled = conjugate_gradients(product(As), jax.tree.map(lambda v: np.float32(size) * v, b), 1e-4)
    assert bool(scaled.converged)
    for one, other in zip(unit.value, scaled.value, strict=True):
        np.testing.assert_allclose(other[0] / np.float32(size), one[0], rtol=2e-2, atol=1e-4)


def test_under_vmap_each_solve_is_its_own():
    As, b = matrices(), right_hand_side()
    scales = jnp.asarray([1.0, 1e3, 0.0])

    def solved(scale):
        diagonal = lambda x: tuple((v[0] / (1 + scale),) for v in x)  # noqa: E731
        operator = lambda x: tuple((a[0] + scale * v[0],) for a, v in zip(product(As)(x), x, strict=True))  # noqa: E731
        return conjugate_gradients(operator, b, 1e-10, diagonal)

    together = jax.jit(jax.vmap(solved))(scales)
    for i, scale in enumerate(scales):
        alone = solved(scale)
        np.testing.assert_allclose(together.iterations[i], alone.iterations, atol=2)  # another order of sums
        for one, other in zip(alone.value, together.value, strict=True):
            np.testing.assert_allclose(other[0][i], one[0], rtol=1e-8, atol=1e-10)


def test_derivatives_of_a_preconditioned_solve():
    As, b = matrices(), right_hand_side()

    def solved(scale):
        operator = lambda x: tuple((scale * a[0],) for a in product(As)(x))  # noqa: E731
        inverse = lambda x: tuple((v[0] / scale,) for v in x)  # noqa: E731
        solution = conjugate_gradients(operator, b, 1e-13, inverse)
        return sum(jnp.sum(leaf**2) for (leaf,) in solution.value), solution

    value = float(solved(1.0)[0])
    slope, solution = jax.jit(jax.grad(solved, has_aux=True))(2.0)
    assert float(slope) == pytest.approx(-2 * 2.0**-3 * value, rel=1e-8)
    assert int(solution.iterations[0]) > 0
    assert float(jax.grad(lambda s: solved(s)[1].residual.sum())(2.0)) == 0
    second = jax.grad(jax.grad(lambda s: solved(s)[0]))(2.0)
    assert float(second) == pytest.approx(6 * 2.0**-4 * value, rel=1e-6)
