"""Composition of contracting modules: every row against closed forms, exact arithmetic and random assembled systems."""

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg

import flowmod as fm
from flowmod.contraction.certificate._program import Operation, Program
from flowmod.contraction.compose._comparison import composition_of
from flowmod.contraction.compose._matrices import pencil_modes, rounding
from flowmod.contraction.compose._parts import Rates

compose = fm.compose


EUCLIDEAN = Program(2, (Operation("constant", (), 1.0), Operation("constant", (), 0.0)), (2, 3, 2))
"""The metric as a certificate has it: its upper triangle."""


@dataclasses.dataclass
class Proved:
    rate: float
    status: str = "proved"
    norm: float = 2
    corners: tuple = ((-1.0, 0.0), (1.0, 2.0))
    times: tuple | None = None
    constant_metric: bool = True
    metric_program: Program | None = EUCLIDEAN


def rate_of(matrix, weights=None):
    """Minus the largest eigenvalue of the symmetric part, in the metric diag(weights)."""
    weights = np.ones(len(matrix)) if weights is None else weights
    scaled = np.sqrt(weights)[:, None] * matrix / np.sqrt(weights)[None]
    return -np.linalg.eigvalsh((scaled + scaled.T) / 2)[-1]


def norm(block):
    return np.linalg.norm(block, 2)


def random_system(rng, modules):
    """The generalized Jacobian of modules with 1 to 3 numbers each, their rates and the gains between them."""
    sizes = rng.integers(1, 4, modules)
    edges = np.cumsum([0, *sizes])
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    jacobian = rng.normal(size=(edges[-1], edges[-1])) * rng.choice([0.1, 0.5, 2.0])
    for i in range(modules):
        for j in range(modules):
            jacobian[parts[i], parts[j]] *= 1.0 if i == j else rng.choice([0.0, 0.3, 1.0])
        jacobian[parts[i], parts[i]] -= rng.uniform(0.5, 4.0) * np.eye(sizes[i])
    rates = [rate_of(jacobian[p, p]) for p in parts]
    gains = [[0.0 if i == j else norm(jacobian[p, q]) for j, q in enumerate(parts)] for i, p in enumerate(parts)]
    return jacobian, parts, np.array(rates), np.array(gains)


def by_number(weights, parts):
    return np.concatenate([np.full(p.stop - p.start, weight) for weight, p in zip(weights, parts, strict=True)])


SYSTEMS = [random_system(np.random.default_rng(seed), 2 + seed % 4) for seed in range(500)]
PAIRS = [random_system(np.random.default_rng(1000 + seed), 2) for seed in range(500)]


# --- the oracle and its closed forms ---


def test_hierarchy_of_the_oracle(oracle):
    o = oracle("o13_composition_rates")
    l1, l2, k = (o["inputs"][name] for name in ("l1", "l2", "k"))
    for eps in (1.0, 0.3, 0.1, 0.01):
        found = compose.hierarchy(l1, l2, k, eps=eps)
        np.testing.assert_allclose(found.rate, o["results"][f"hierarchy_rate_eps_{eps}"], atol=1e-12)
        np.testing.assert_allclose(found.condition, 1 / eps)
        np.testing.assert_allclose(found.weights, [1, eps**2])
        np.testing.assert_allclose(found.rate, rate_of(np.array([[-l1, 0], [k, -l2]]), found.weights), atol=1e-12)
        assert found.supremum == min(l1, l2)
    assert compose.hierarchy(l1, l2, k, eps=1.0).limiting == (1, 0)
    assert compose.hierarchy(l1, l2, k, eps=0.01).limiting == 0
    # Without an eps the coupling costs one percent.
    np.testing.assert_allclose(compose.hierarchy(l1, l2, k).rate, 0.99 * l1, rtol=1e-12)
    assert compose.hierarchy(l1, l2, 1e-3).condition == 1.0


def test_transient_of_the_oracle_and_against_the_matrix_exponential(oracle):
    o = oracle("o13_composition_rates")
    found = compose.transient(1.0, 2.5, 6.0, 0.8)
    np.testing.assert_allclose(found, o["results"]["hierarchy_transient_gain_t0p8"], rtol=1e-14)
    times = np.linspace(0.0, 3.0, 7)
    for l1, l2 in ((1.0, 2.5), (2.5, 1.0), (1.5, 1.5), (-0.3, 0.4)):
        exact = [scipy.linalg.expm(np.array([[-l1, 0], [6.0, -l2]]) * t)[1] @ [0.7, 0.2] for t in times]
        np.testing.assert_allclose(compose.transient(l1, l2, 6.0, times, d1=0.7, d2=0.2), exact, rtol=1e-12)
    # Rates that nearly agree lose no digits.
    near, equal = compose.transient(1.5, 1.5 + 1e-9, 6.0, times), compose.transient(1.5, 1.5, 6.0, times)
    np.testing.assert_allclose(near, equal * (1 - 0.5e-9 * times), rtol=1e-14)


def test_feedback_rows_of_the_oracle(oracle):
    o = oracle("o13_composition_rates")
    f11, f22, g, f12, f21 = (np.array(o["inputs"][name]) for name in ("F11", "F22", "G", "F12", "F21"))
    l1, l2 = o["results"]["module_rates"]
    c, wanted = o["inputs"]["c"], o["results"]["skew_feedback"]
    skew = compose.skew_feedback(l1, l2, ratio=c)
    whole = np.block([[f11, -c * g.T], [g, f22]])
    np.testing.assert_allclose(skew.rate, wanted["rate_scaled_metric"], rtol=1e-14)
    np.testing.assert_allclose(skew.rate, rate_of(whole, np.repeat(skew.weights, [2, 3])), rtol=1e-13)
    # Negative control: the identity metric raises a false alarm.
    np.testing.assert_allclose(rate_of(whole), wanted["rate_identity_metric"], rtol=1e-12)
    assert skew.rate > 0 > rate_of(whole)

    wanted = o["results"]["small_gain"]
    small = compose.small_gain(l1, l2, norm(f12), norm(f21))
    np.testing.assert_allclose(small.rate, wanted["bound_scaled"], rtol=1e-12)
    np.testing.assert_allclose(small.weights[1] ** 0.5, wanted["theta"], rtol=1e-10)
    whole = np.block([[f11, f12], [f21, f22]])
    np.testing.assert_allclose(rate_of(whole, np.repeat(small.weights, [2, 3])), wanted["actual_scaled"], rtol=1e-10)
    plain = compose.unscaled_feedback(l1, l2, norm(f12 + f21.T))
    np.testing.assert_allclose(plain.rate, wanted["bound_unscaled"], rtol=1e-12)
    assert plain.rate <= wanted["actual_unscaled"]


def test_network_sum_and_rnn_of_the_oracle(oracle):
    o = oracle("o13_composition_rates")
    wanted = o["results"]["network"]
    found = compose.network(o["inputs"]["lam"], o["inputs"]["gains"])
    np.testing.assert_allclose(found.rate, wanted["rate_bound"], rtol=1e-12)
    np.testing.assert_allclose(found.weights, wanted["weights_P"], rtol=1e-10)
    np.testing.assert_allclose(found.supremum, found.rate, rtol=1e-12)
    assert found.rate <= wanted["actual_block_rate"]
    wanted = o["results"]["parallel"]
    found = compose.sum(wanted["rates"], [0.4, 1.5])
    np.testing.assert_allclose(found.rate, wanted["bound"], rtol=1e-14)
    assert found.rate <= wanted["combo_0p4_1p5"]
    wanted = o["results"]["rnn_of_rnns"]
    metrics = [wanted["M1"], wanted["M2"]]
    big = np.zeros((5, 5))
    big[2:, :2] = 3 * np.array(o["inputs"]["G"])
    coupling = compose.skew_coupling(big, metrics)
    np.testing.assert_allclose(coupling, wanted["L"], atol=1e-13)
    found = compose.rnn_of_rnns(wanted["module_rates"], coupling, metrics)
    np.testing.assert_allclose(found.rate, wanted["combined_rate"], rtol=1e-12)
    assert found.rate <= min(wanted["module_rates"])
    assert compose.rnn_of_rnns(wanted["module_rates"]).rate == min(wanted["module_rates"])


def test_excitatory_and_inhibitory_populations():
    """Skew feedback of contracting modules: the identity's false alarm, the block metric's rate, the abscissa."""
    j1, b, k = np.array([[-1, 0.3], [-0.3, -2]]), np.array([[2.0], [1.0]]), 4.0
    whole = np.block([[j1, b], [-k * b.T, np.array([[-1.5]])]])
    found = compose.skew_feedback(rate_of(j1), 1.5, ratio=1 / k)
    np.testing.assert_allclose(-rate_of(whole), 2.0293439, atol=1e-7)
    np.testing.assert_allclose(found.rate, 1.0, rtol=1e-14)
    np.testing.assert_allclose(rate_of(whole, np.repeat(found.weights, [2, 1])), 1.0, rtol=1e-13)
    np.testing.assert_allclose(np.linalg.eigvals(whole).real.max(), -1.3494778, atol=1e-7)


# --- the bound never exceeds the rate of the assembled system, and is attained where the theory says so ---


def _safe(found, jacobian, parts, weights=None):
    weights = found.weights if weights is None else weights
    return found.rate <= rate_of(jacobian, by_number(weights, parts)) + 1e-13 * np.abs(jacobian).sum()


def test_network_bound_on_500_random_systems():
    found = [compose.network(rates, gains) for _, _, rates, gains in SYSTEMS]
    assert all(_safe(c, jacobian, parts) for c, (jacobian, parts, _, _) in zip(found, SYSTEMS, strict=True))
    for c, (_, _, rates, gains) in zip(found, SYSTEMS, strict=True):
        gamma = gains - np.diag(rates)
        # The weights achieve the rate on the comparison matrix itself, a system of scalar modules.
        np.testing.assert_allclose(c.rate, rate_of(gamma, c.weights), atol=1e-11 * np.abs(gamma).sum())
        np.testing.assert_allclose(c.supremum, -scipy.linalg.eigvals(gamma).real.max(), atol=1e-7)
        assert c.condition <= 1e4 * (1 + 1e-12)
    # Negative controls: weights inverted, and those of the transposed gains.
    transposed = [compose.network(rates, gains.T).weights for _, _, rates, gains in SYSTEMS]
    for wrong in ([1 / c.weights for c in found], transposed):
        broken = sum(not _safe(c, s[0], s[1], w) for c, w, s in zip(found, wrong, SYSTEMS, strict=True))
        assert broken > 50


@pytest.mark.parametrize("row", ["hierarchy", "skew", "unscaled", "small", "independent", "primal_dual"])
def test_rows_of_two_modules_on_500_random_systems(row):
    rng = np.random.default_rng(7)
    for jacobian, (p, q), (l1, l2), _ in PAIRS:
        whole, ratio = jacobian.copy(), rng.uniform(0.1, 10.0)
        if row in ("hierarchy", "independent"):
            whole[p, q] = 0
        if row == "independent":
            whole[q, p] = 0
        if row in ("skew", "primal_dual"):
            whole[p, q] = -(ratio if row == "skew" else 1.0) * whole[q, p].T
        k12, k21 = norm(whole[p, q]), norm(whole[q, p])
        found = {
            "hierarchy": lambda: compose.hierarchy(l1, l2, k21, eps=ratio),  # noqa: B023
            "skew": lambda: compose.skew_feedback(l1, l2, ratio=ratio),  # noqa: B023
            "unscaled": lambda: compose.unscaled_feedback(l1, l2, norm(whole[p, q] + whole[q, p].T)),  # noqa: B023
            "small": lambda: compose.small_gain(l1, l2, k12, k21),  # noqa: B023
            "independent": lambda: compose.independent([l1, l2]),  # noqa: B023
            "primal_dual": lambda: compose.primal_dual(l1, l2),  # noqa: B023
        }[row]()
        assert _safe(found, whole, (p, q))
        true = rate_of(whole, by_number(found.weights, (p, q)))
        if row in ("skew", "independent", "primal_dual"):
            np.testing.assert_allclose(found.rate, true, atol=1e-12 * np.abs(whole).sum())
        if row == "small" and k12 * k21 > 0:
            closed = (l1 + l2) / 2 - np.sqrt((l1 - l2) ** 2 / 4 + k12 * k21)
            np.testing.assert_allclose(found.rate, closed, atol=1e-11 * np.abs(whole).sum())


def test_rows_of_scalar_modules_are_attained():
    """One number in each module is the worst case: equality, and what replaces sqrt(k12 k21) misses it."""
    rng = np.random.default_rng(3)
    for l1, l2, k12, k21 in rng.uniform(0.2, 3.0, size=(100, 4)):
        small, whole = compose.small_gain(l1, l2, k12, k21), np.array([[-l1, k12], [k21, -l2]])
        true = rate_of(whole, small.weights)
        np.testing.assert_allclose(small.rate, true, atol=1e-12)
        np.testing.assert_allclose(small.rate, -np.linalg.eigvals(whole).real.max(), atol=1e-12)
        wrong = [(l1 + l2) / 2 - np.hypot((l1 - l2) / 2, pick(k12, k21)) for pick in (max, min)]
        assert wrong[0] < true - 1e-9 or k12 == k21
        assert wrong[1] > true + 1e-9 or k12 == k21
        eps, driven = k12, np.array([[-l1, 0], [k21, -l2]])
        np.testing.assert_allclose(
            compose.hierarchy(l1, l2, k21, eps=eps).rate, rate_of(driven, np.array([1, eps**2])), atol=1e-12
        )
        np.testing.assert_allclose(compose.unscaled_feedback(l1, l2, k12 + k21).rate, rate_of(whole), atol=1e-12)


def test_no_rate_is_above_the_true_one_in_exact_arithmetic():
    """Scalar modules with floats as they are: `-S - rate P` is positive semidefinite over the rationals."""
    rng = np.random.default_rng(11)
    for size in np.repeat([2, 3, 4, 6], 25):
        rates, gains = rng.uniform(-1, 3, size), rng.uniform(0, 1, (size, size)) * (rng.random((size, size)) < 0.6)
        np.fill_diagonal(gains, 0)
        found = compose.network(rates, gains)
        assert _is_exact(gains - np.diag(rates), found.weights, found.rate)
        # Negative control: a rate larger by rounding's size where it is attained is found out.
        if found.supremum - found.rate < 1e-12:
            assert not _is_exact(gains - np.diag(rates), found.weights, found.supremum + 1e-11)
    for l1, l2, k, eps in rng.uniform(0.1, 3.0, size=(100, 4)):
        found = compose.hierarchy(l1, l2, k, eps=eps)
        assert _is_exact(np.array([[-l1, 0], [k, -l2]]), found.weights, found.rate)
    rates, factors = rng.normal(size=(2, 50))
    found = compose.sum(rates, np.abs(factors))
    assert Fraction(found.rate) <= sum(Fraction(abs(a)) * Fraction(r) for a, r in zip(factors, rates, strict=True))


def _is_exact(gamma, weights, rate):
    """Whether `-(P Gamma + Gamma^T P)/2 - rate P` has only positive pivots, or zeros that end it."""
    n, p = len(gamma), [Fraction(float(w)) for w in weights]
    g = [[Fraction(float(entry)) for entry in row] for row in gamma]
    a = [
        [-(p[i] * g[i][j] + p[j] * g[j][i]) / 2 - (p[i] * Fraction(rate) if i == j else 0) for j in range(n)]
        for i in range(n)
    ]
    for k in range(n):
        if a[k][k] < 0 or (a[k][k] == 0 and any(a[i][k] != 0 for i in range(k, n))):
            return False
        for i in range(k + 1, n):
            factor = a[i][k] / a[k][k] if a[k][k] else Fraction(0)
            for j in range(k + 1, n):
                a[i][j] -= factor * a[k][j]
    return True


def test_sums_on_500_random_systems_in_one_metric():
    rng = np.random.default_rng(5)
    for _ in range(500):
        n, count = rng.integers(1, 5), rng.integers(1, 4)
        fields, factors = rng.normal(size=(count, n, n)), rng.uniform(0, 2, count)
        whole = np.einsum("k,kij->ij", factors, fields)
        assert compose.sum([rate_of(f) for f in fields], factors).rate <= rate_of(whole) + 1e-13
    # Equality where all fields grow most along one direction.
    np.testing.assert_allclose(compose.sum([1.5, -0.5], [2.0, 3.0]).rate, 1.5, rtol=1e-15)


def test_rnn_of_rnns_on_500_random_systems():
    rng = np.random.default_rng(9)
    for _ in range(500):
        sizes = rng.integers(1, 4, rng.integers(2, 4))
        metrics = [a @ a.T + np.eye(len(a)) for a in (rng.normal(size=(n, n)) for n in sizes)]
        fields = [rng.normal(size=(n, n)) - 2 * np.eye(n) for n in sizes]
        whole = compose.skew_coupling(10 * rng.normal(size=(sizes.sum(), sizes.sum())), metrics)
        rates = [_rate_in(f, m) for f, m in zip(fields, metrics, strict=True)]
        found = compose.rnn_of_rnns(rates, whole, metrics)
        true = _rate_in(scipy.linalg.block_diag(*fields) + whole, scipy.linalg.block_diag(*metrics))
        assert found.rate <= true + 1e-11
        np.testing.assert_allclose(found.rate, min(rates), atol=1e-10)
        np.testing.assert_allclose(true, min(rates), atol=1e-10)
    # Negative control: B itself, not made skew, does not keep the rate.
    loose = _rate_in(scipy.linalg.block_diag(*fields) + 10 * np.ones(whole.shape), scipy.linalg.block_diag(*metrics))
    assert loose < min(rates) - 1


def test_what_a_coupling_misses_of_being_skew_is_taken_off():
    """Within the tolerance, and far above rounding: `diag(d, d)` too much, and the rate is `1 - d`."""
    miss = 2.0**-30
    found = compose.rnn_of_rnns([1.0, 1.0], [[miss, 1.0], [-1.0, miss]])
    assert 1 - 2 * miss < found.rate <= 1 - miss


def _rate_in(jacobian, metric):
    product = metric @ jacobian
    return -scipy.linalg.eigh((product + product.T) / 2, metric, eigvals_only=True)[-1]


# --- an equality constraint ---


def _saddle(hessian, a, m1, m2):
    top = -np.linalg.solve(m1, np.hstack([hessian, a.T]))
    return np.vstack([top, np.linalg.solve(m2, np.hstack([a, np.zeros((len(a), len(a)))]))])


def _tilted(a, m1, m2, tilt):
    return np.block([[m1, tilt * a.T], [tilt * a, m2]])


def test_an_equality_constraint_contracts_strictly_in_a_tilted_metric():
    rng = np.random.default_rng(2)
    found = compose.equality_constrained(np.eye(1), np.eye(1))
    np.testing.assert_allclose(found.rate, 0.5, rtol=1e-8)  # eigenvalues (-1 +- i sqrt 3)/2: attained
    assert compose.primal_dual(1.0, 0.0).rate == 0.0
    for _ in range(20):
        n, m = 4, int(rng.integers(1, 4))
        a = rng.normal(size=(m, n))
        h, m1, m2 = (b @ b.T + 0.5 * np.eye(len(b)) for b in (rng.normal(size=(k, k)) for k in (n, n, m)))
        found, jacobian = compose.equality_constrained(h, a, (m1, m2)), _saddle(h, a, m1, m2)
        assert 0 < found.rate <= _rate_in(jacobian, found.metric) <= -np.linalg.eigvals(jacobian).real.max() + 1e-12
        np.testing.assert_allclose(found.rate, _rate_in(jacobian, found.metric), atol=1e-9)
        # No other tilt is better, and the block metric alone only semi-contracts.
        end = 1 / np.sqrt(scipy.linalg.eigh(a @ np.linalg.solve(m1, a.T), m2, eigvals_only=True)[-1])
        others = [_rate_in(jacobian, _tilted(a, m1, m2, tilt)) for tilt in np.linspace(0, end, 402)[1:-1]]
        assert max(others) <= found.rate + 1e-9
        assert max(others) >= found.rate - 1e-2 * abs(found.rate)
        assert abs(_rate_in(jacobian, _tilted(a, m1, m2, 0.0))) < 1e-9
        relative = scipy.linalg.eigh(found.metric, scipy.linalg.block_diag(m1, m2), eigvals_only=True)
        np.testing.assert_allclose(found.condition, np.sqrt(relative[-1] / relative[0]), rtol=1e-9)


def test_eigenvalues_of_a_pencil_are_safe_from_rounding():
    """`(value + rounding) M - S` is positive semidefinite over the rationals, in metrics of a condition up to 1e10."""
    rng, missed = np.random.default_rng(8), 0
    for n in np.repeat([2, 3, 4], 40):
        q, s = np.linalg.qr(rng.normal(size=(n, n)))[0], rng.normal(size=(n, n))
        m, s = (q * 10.0 ** rng.uniform(-10, 0, n)) @ q.T, s + s.T
        m = (m + m.T) / 2
        top, slack = pencil_modes(s, m)[0][-1], rounding(s, m)
        assert _is_positive(top + slack, m, s)
        # Negative control: without the condition of the metric it is too little.
        spread = np.linalg.eigvalsh(m)
        missed += not _is_positive(top + slack * spread[0] / spread[-1], m, s)
    assert missed > 5


def _is_positive(value, m, s):
    exact = [
        [Fraction(value) * Fraction(a) - Fraction(b) for a, b in zip(*rows, strict=True)]
        for rows in zip(m, s, strict=True)
    ]
    for k in range(len(exact)):
        if exact[k][k] <= 0:
            return False
        for i in range(k + 1, len(exact)):
            factor = exact[i][k] / exact[k][k]
            exact[i] = [a - factor * b for a, b in zip(exact[i], exact[k], strict=True)]
    return True


def test_the_rate_at_several_hessians_holds_for_their_means():
    rng = np.random.default_rng(4)
    a = np.array([[1.0, -1.0, 0.5]])
    hessians = [np.diag([1.0, 2.0, 1.5]), np.diag([3.0, 1.0, 1.0]), np.eye(3) * 2 + 0.3]
    found = compose.equality_constrained(hessians, a)
    assert found.rate > 0
    for weights in rng.dirichlet(np.ones(3), 200):
        mean = np.einsum("k,kij->ij", weights, hessians)
        assert found.rate <= _rate_in(_saddle(mean, a, np.eye(3), np.eye(1)), found.metric)
    # Negative control: the rate of one of them alone does not hold at the others.
    alone = compose.equality_constrained(hessians[0], a)
    assert alone.rate > _rate_in(_saddle(hessians[2], a, np.eye(3), np.eye(1)), alone.metric)


# --- hierarchies, large networks, what limits, what is left ---


def test_a_hierarchy_is_approached_and_paid_for():
    rates, gains = [1.0, 2.5, 1.5], [[0, 0, 0], [6.0, 0, 0], [0, 3.0, 0]]
    found = [compose.network(rates, gains, max_condition=c) for c in (1.0, 10.0, 1e3, 1e6)]
    assert [c.supremum for c in found] == [1.0] * 4
    assert np.all(np.diff([c.rate for c in found]) > 0)
    assert found[-1].rate > 1 - 1e-5
    assert all(c.rate < 1 for c in found)
    assert [c.condition for c in found] <= [1.0, 10.0, 1e3, 1e6]
    np.testing.assert_allclose(found[1].condition, 10.0, rtol=1e-3)
    assert found[-1].headroom == np.inf
    assert "weights farther apart come close to 1" in str(found[1])
    # One module that acts back makes it irreducible: the abscissa is attained.
    loop = compose.network(rates, [[0, 0, 0.1], [6.0, 0, 0], [0, 3.0, 0]])
    np.testing.assert_allclose(loop.rate, loop.supremum, rtol=1e-10)


def test_networks_of_hundreds_of_modules():
    rng = np.random.default_rng(0)
    n = 200
    rates, gains = 1 + rng.random(n), rng.random((n, n)) / n
    np.fill_diagonal(gains, 0)
    gamma = gains - np.diag(rates)
    whole = compose.network(rates, gains)
    np.testing.assert_allclose(whole.rate, -np.linalg.eigvals(gamma).real.max(), atol=1e-11)
    perron = fm.perron_weights(gamma)
    np.testing.assert_allclose(whole.weights, perron.metric / perron.metric[0], rtol=1e-6)
    # A chain of equal modules is one Jordan block: an eigenvalue solver of the whole would be lost in its order.
    order = rng.permutation(n)
    chain = compose.network(np.ones(n), np.eye(n, k=-1)[np.ix_(order, order)])
    assert chain.supremum == 1.0
    assert 0 < chain.rate < 0.1  # what a condition of 1e4 buys, spread over 199 links
    short = compose.network(np.ones(3), np.eye(3, k=-1))
    assert short.rate > 0.99
    # Parts that do not hang together, one of them a hierarchy, one without any coupling.
    apart = compose.network(
        [2.0, 1.0, 1.0, 0.9, 3.0], scipy.linalg.block_diag([[0, 0], [1, 0]], [[0, 0.5], [0.5, 0]], 0)
    )
    np.testing.assert_allclose(apart.supremum, -(-0.95 + np.sqrt(0.05**2 + 0.25)), rtol=1e-12)
    np.testing.assert_allclose(apart.rate, apart.supremum, rtol=1e-9)
    assert compose.network([0.7], [[0.0]]).rate == 0.7


ROWS = {
    "hierarchy": lambda c: compose.hierarchy(1.0, 2.5, 6.0 * c, eps=0.3),
    "unscaled": lambda c: compose.unscaled_feedback(1.0, 2.5, 2.0 * c),
    "small_gain": lambda c: compose.small_gain(1.0, 2.5, 0.4 * c, 1.2 * c),
    "network": lambda c: compose.network([1.0, 2.0, 1.5], c * np.array([[0, 0.3, 0.4], [0.5, 0, 0.1], [0.2, 0.6, 0]])),
    "failing": lambda c: compose.small_gain(1.0, 2.5, 4.0 * c, 2.0 * c),
}


@pytest.mark.parametrize("row", list(ROWS))
def test_headroom_is_where_the_rate_ends(row):
    room = ROWS[row](1.0).headroom
    assert (room > 1) == (ROWS[row](1.0).rate > 0)
    np.testing.assert_allclose(ROWS[row](room).rate, 0.0, atol=1e-9)
    assert ROWS[row](0.99 * room).rate > 0 > ROWS[row](1.01 * room).rate


def test_what_limits():
    assert compose.independent([3.0, 1.0, 2.0]).limiting == 1
    assert compose.skew_feedback(3.0, 1.0).limiting == 1
    assert compose.skew_feedback(3.0, 1.0).headroom == np.inf
    assert compose.sum([3.0, 2.0], [0.1, 1.0]).limiting == 0
    gains = np.zeros((4, 4))
    gains[0, 1], gains[1, 0], gains[2, 3], gains[3, 2] = 0.05, 0.05, 0.5, 1.2
    found = compose.network([1.0, 1.0, 1.0, 1.0], gains)
    assert found.limiting in ((2, 3), (3, 2))
    assert "limited by the coupling of module" in str(found)
    weak = compose.network([-0.5, 1.0], [[0, 0.5], [0.5, 0]])
    assert weak.rate < -0.5
    assert weak.limiting == 0
    assert weak.headroom == 0.0
    assert "not shown to contract" in str(weak)


# --- certificates ---


def test_certificates_compose_to_a_proof_that_composes_again():
    pair = compose.small_gain(Proved(1.0), Proved(2.0), 0.5, 0.5)
    assert pair.proved
    assert pair.status == "proved"
    assert pair.rate == compose.small_gain(1.0, 2.0, 0.5, 0.5).rate
    whole = compose.hierarchy(pair, Proved(3.0), 1.0, eps=0.1)
    assert whole.proved
    assert "proved from certificates" in str(whole)
    assert "while runs stay in the product of the boxes, [-1.  0. -1.  0. -1.  0.] to [1. 2. 1. 2. 1. 2.]," in str(
        whole
    )
    assert "if inputs are only added to the velocities" in str(whole)
    np.testing.assert_array_equal(whole.corners, [[-1, 0] * 3, [1, 2] * 3])
    for mixed in (compose.network([Proved(1.0), 2.0], np.zeros((2, 2))), compose.independent([Proved(1.0), 2.0])):
        assert not mixed.proved
        assert mixed.corners is None
        assert "not from certificates" in str(mixed)
        assert "runs stay" not in str(mixed)
    assert compose.rnn_of_rnns([Proved(1.0)] * 2).proved
    np.testing.assert_array_equal(compose.sum([Proved(1.0)] * 2).corners, Proved(1.0).corners)
    timed = compose.independent([Proved(1.0, times=(0.0, 2.0)), Proved(1.0), Proved(1.0, times=(1.0, 3.0))])
    assert timed.times == (1.0, 2.0)
    assert "for t in [1, 2]" in str(timed)
    assert compose.sum([Proved(1.0), Proved(1.0, times=(0.0, 2.0))]).times == (0.0, 2.0)


def test_fields_of_two_metrics_or_regions_have_no_proved_sum():
    """Contracting in diag(1, 25) and in diag(25, 1), and their sum grows: one box, one word for both metrics."""
    a, y = np.array([[-1.0, 4.0], [0.0, -1.0]]), np.ones(2)
    fields = [fm.VectorField(lambda t, y, m: m @ y)] * 2
    metrics = [fm.ConstantMetric(np.diag([1.0, 25.0])), fm.ConstantMetric(np.diag([25.0, 1.0]))]
    one, other = (fm.certify(f, (-y, y), m, args=j) for f, m, j in zip(fields, metrics, (a, a.T), strict=True))
    assert min(one.rate, other.rate) > 0.59
    assert np.linalg.eigvals(a + a.T).max() > 1.9
    with pytest.raises(ValueError, match=r"`rates\[0\]` and `rates\[2\]`.*metrics are not the same, or can't be seen"):
        compose.sum([one, one, other])
    assert not compose.sum([one.rate, other.rate]).proved
    twice = compose.sum([one, one], [1.0, 2.0])
    np.testing.assert_array_equal(twice.corners, one.corners)
    np.testing.assert_allclose(twice.rate, 3 * one.rate)
    # A field that depends on the time has a program of one more number; its metric is the same.
    timed = fm.certify(fm.VectorField(lambda t, y, args: -(2 + t) * y), (-y, y), metrics[0], t=(0.0, 1.0))
    both = compose.sum([one, timed])
    assert both.times == (0.0, 1.0)
    np.testing.assert_allclose(both.rate, one.rate + timed.rate, rtol=1e-15)
    # What the coupling is skew in must be the metric of the certificates, too.
    metric = np.diag([1.0, 25.0])
    coupling = compose.skew_coupling(np.triu(np.ones((4, 4)), 2), [metric, metric])
    assert compose.rnn_of_rnns([one, one], coupling, [metric, metric]).proved
    for wrong, given in ((coupling, [metric, np.eye(2)]), (np.zeros((4, 4)), None)):
        with pytest.raises(ValueError, match=r"`rates\[[01]\]` is not proved in the metric `metrics\[[01]\]`"):
            compose.rnn_of_rnns([one, one], wrong, given)


def test_a_certificate_in_a_metric_that_moves_with_the_state_is_no_proof_for_a_driven_module():
    """`b` contracts at 0.99 without an input in `1/y^2`; driven, the metric moves with it, and the whole grows."""
    import jax.numpy as jnp

    b = fm.Dynamical(lambda t, x, u, args: -x * jnp.log(x) + u, fm.DiagonalMetric(lambda y, args: 1 / y**2))
    alone = fm.certify(b, (np.array([0.2]), np.array([0.5])))
    assert alone.status == "proved"
    assert not alone.constant_metric
    with pytest.raises(ValueError, match=r"`l2` is proved in a metric that is not seen to be constant.*give a number"):
        compose.hierarchy(1.0, alone, 10.0)
    a = fm.Dynamical(lambda t, x, u, args: -(x - 1.0) + u)
    found = compose.hierarchy(1.0, alone.rate, 10.0)
    whole = fm.cascade(a, b, -2.0).weighted(found.weights)
    assert found.rate > 0.9
    assert fm.contraction_rate(whole, (jnp.array([1.0]), jnp.array([0.3]))) < -5
    # The same metric at one point is constant, of a factor too.
    fixed = fm.certify(b, (np.array([0.8]), np.array([0.9])), factor=np.array([0.3]))
    assert fixed.constant_metric
    assert compose.hierarchy(1.0, fixed, 10.0).rate < fixed.rate
    assert fm.certify(b, (np.array([0.8]), np.array([0.9])), fm.Euclidean(), norm=1).metric_program is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: compose.hierarchy(Proved(1.0, "undecided"), 1.0, 1.0),
            r"`l1` has the status 'undecided'.*smaller region",
        ),
        (
            lambda: compose.network([1.0, Proved(0.1, "disproved")], np.zeros((2, 2))),
            r"`rates\[1\]` has the status 'dis",
        ),
        (lambda: compose.skew_feedback(1.0, compose.independent([1.0])), "`l2` has the status 'unproved'"),
        (lambda: compose.independent([Proved(1.0, norm=np.inf)]), r"`rates\[0\]` is proved in the norm inf.*`norm=2`"),
        (
            lambda: compose.independent([Proved(1.0, constant_metric=False)]),
            r"`rates\[0\]` is proved in a metric that is not seen to be constant",
        ),
        (
            lambda: compose.hierarchy(Proved(1.0, times=(0, 1)), Proved(1.0, times=(1, 2)), 1.0),
            r"don't overlap: `l1` for t in \[0, 1\], `l2` for t in \[1, 2\]",
        ),
        (lambda: compose.sum([Proved(1.0), Proved(1.0, corners=((1, 0), (2, 2)))]), "boxes are not the same"),
        (lambda: compose.sum([Proved(1.0, times=(0, 2)), Proved(1.0, times=(0, 3))]), "times are not the same"),
        (
            lambda: compose.sum([compose.independent([Proved(1.0)]), Proved(1.0)]),
            "can't be seen to be the same: a comp",
        ),
        (lambda: compose.sum([1e308, 1e308]), "`rates` add up to more than a float holds"),
        (lambda: compose.independent([1.0, np.nan]), r"`rates\[1\]` must be finite, got nan"),
        (lambda: compose.independent([Proved(np.nan)]), r"`rates\[0\]` must be finite"),
        (lambda: compose.sum([Proved(None)]), r"`rates\[0\]` must be finite|`rates\[0\]` must be a number"),
        (lambda: compose.network([1.0, 1.0], [[0, np.nan], [1, 0]]), r"`gains\[0\]\[1\]` = nan must be finite"),
        (lambda: compose.network([1.0, 1.0], [[0, 1], [-1, 0]]), r"`gains\[1\]\[0\]` = -1 is a norm"),
        (lambda: compose.network([1.0, 1.0], [[-1, 0], [0, -1]]), r"`gains\[0\]\[0\]` = -1 is a norm"),
        (lambda: compose.network([1.0, 1.0], np.eye(2)), r"`gains\[0\]\[0\]` = 1 must be zero"),
        (lambda: compose.network([1.0, 1.0], np.zeros((2, 3))), r"shape \(2, 2\).*got \(2, 3\)"),
        (lambda: compose.network([1.0], [[0.0]], max_condition=0.5), "`max_condition` must be at least 1"),
        (lambda: compose.network([], np.zeros((0, 0))), "`rates` must hold the rate of at least one"),
        (lambda: compose.independent(1.0), "`rates` must be a sequence"),
        (lambda: compose.hierarchy(np.ones(3), 1.0, 1.0), r"`l1` must be one number, got shape \(3,\).*smallest"),
        (lambda: compose.hierarchy(1.0, 1.0, -1.0), "`k21` can't be negative, got -1"),
        (lambda: compose.hierarchy(1.0, 1.0, 1.0, eps=0.0), "`eps` must be positive"),
        (lambda: compose.hierarchy(1.0, 1.0, 1.0, eps=1e-155), "`eps` must be positive, and its square"),
        (lambda: compose.hierarchy(1.0, 1.0, 1e300), r"`k21` = 1e\+300 is too large for the rates"),
        (lambda: compose.skew_feedback(1.0, 1.0, ratio=0.0), "`ratio` must be positive"),
        (lambda: compose.skew_feedback(1.0, 1.0, ratio=1e-320), "`ratio` must be positive, and its inverse a float"),
        (lambda: compose.small_gain("fast", 1.0, 1.0, 1.0), "`l1` must be a number or a certificate, got 'fast'"),
        (lambda: compose.sum([1.0, 1.0], [1.0]), "`factors` must be one for each of the 2 rates"),
        (lambda: compose.sum([1.0], [-1.0]), r"`factors\[0\]` can't be negative"),
        (lambda: compose.transient(1.0, 1.0, 1.0, [-1.0]), "`t` must be finite and from 0 on"),
        (
            lambda: compose.rnn_of_rnns([1.0, 1.0], np.ones((2, 2))),
            "must be skew in the modules' metrics.*skew_coupling",
        ),
        (
            lambda: compose.rnn_of_rnns([1.0, 1.0], np.zeros((2, 2)), [np.eye(2)]),
            "`metrics` must be one for each of the 2",
        ),
        (
            lambda: compose.rnn_of_rnns([1, 2, 3], [[0, 1], [-1, 0]]),
            r"each number of the 3 modules, got shape \(2, 2\)",
        ),
        (lambda: compose.skew_coupling(np.ones((2, 2)), [np.eye(1)]), r"`matrix` must be square.*sizes \[1\]"),
        (lambda: compose.skew_coupling(np.ones((1, 1)), [-np.eye(1)]), r"`metrics\[0\]` must be positive definite"),
        (lambda: compose.equality_constrained(np.eye(2), [[1, 1], [2, 2]]), "`constraint` must have independent rows"),
        (
            lambda: compose.equality_constrained(np.eye(3), [[0.1, 0.2, 0.3], [0.3, 0.6, 0.9]]),
            "of its 2 rows only 1 are",
        ),
        (lambda: compose.equality_constrained(np.eye(2), [[1, 2], [3, 4], [5, 6]]), "of its 3 rows only 2 are"),
        (lambda: compose.equality_constrained(np.eye(2), [[0, 0]]), "of its 1 rows only 0 are"),
        (lambda: compose.equality_constrained(np.zeros((0, 2, 2)), [[1.0, 1.0]]), "`hessian` must hold at least one"),
        (lambda: compose.equality_constrained(np.eye(2), [[1, 1]], (np.eye(2),)), r"must be the pair \(M1, M2\)"),
        (lambda: compose.equality_constrained(np.eye(3), [[1.0, 1.0]]), r"`hessian` must be \(2, 2\).*got \(3, 3\)"),
        (lambda: compose.equality_constrained([[1.0, 2.0], [0, 1]], [[1.0, 1.0]]), "`hessian` must be square and symm"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rates_of_other_types_are_numbers():
    import jax.numpy as jnp

    found = compose.network(jnp.asarray([1.0, 2.0]), jnp.asarray([[0.0, 0.5], [0.5, 0.0]]))
    assert found.rate == compose.network([1, 2], [[0, 0.5], [0.5, 0]]).rate
    assert compose.independent([np.float32(0.1)]).rate == float(np.float32(0.1))


def test_gains_over_thirty_orders_of_magnitude():
    """Eigenvectors only propose a direction, so that a bad one costs rate and not safety."""
    gains = np.array([[0, 1e-15, 0], [1e15, 0, 1e-8], [0, 1e8, 0]])
    gamma = gains - np.diag([1.0, 2.0, 3.0])
    found = compose.network([1.0, 2.0, 3.0], gains)
    bad = composition_of(Rates(np.array([1.0, 2.0, 3.0])), gains, np.array([1.0, 1e8, 1e-8]))
    assert bad.rate < -1e10
    for each in (found, bad):
        assert _is_exact(gamma, each.weights, each.rate)
