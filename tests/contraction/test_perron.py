"""Perron weights: the three measures at once as small as any can be, for hundreds of random Metzler matrices."""

import numpy as np
import pytest

import flowmod as fm
from tests.contraction.test_log_norm import NORMS, naive, weighted

RNG = np.random.default_rng(13)


def metzler(n):
    """Off-diagonal entries over six orders of magnitude."""
    a = RNG.exponential(size=(n, n)) * 10.0 ** RNG.uniform(-4, 2, size=(n, n))
    return a - np.diag(np.diag(a) + RNG.exponential(size=n))


def test_all_three_measures_are_the_abscissa():
    for _ in range(500):
        a = metzler(RNG.integers(1, 8))
        found, scale = fm.perron_weights(a), np.abs(a).max()
        abscissa = np.linalg.eigvals(a).real.max()
        assert found.irreducible
        assert found.attained
        for norm in NORMS:
            measure = naive(weighted(found.factor(norm), a), norm)
            np.testing.assert_allclose(measure, abscissa, atol=1e-11 * scale)
            other = naive(weighted(found.factor(norm) * RNG.uniform(0.5, 2, size=len(a)), a), norm)
            assert other >= abscissa - 1e-11 * scale
        np.testing.assert_allclose([found.abscissa, -found.rate], abscissa, atol=1e-11 * scale)


def test_the_weights_of_a_network_of_modules(oracle):
    """Oracle o13, `network`; the weights the wrong way round do not attain it."""
    network = oracle("o13_composition_rates")["results"]["network"]
    gains = np.asarray(network["Gamma"])
    found = fm.perron_weights(gains)
    np.testing.assert_allclose(found.metric / found.metric[0], network["weights_P"], rtol=1e-10)
    np.testing.assert_allclose(found.rate, network["rate_bound"], rtol=1e-10)
    for norm in NORMS:
        np.testing.assert_allclose(fm.log_norm(gains, norm, found.factor(norm)), -network["rate_bound"], rtol=1e-10)
        assert fm.log_norm(gains, norm, 1 / found.factor(norm)) > found.abscissa + 0.02
    text = str(found)
    assert "rate 0.52742 in the norms 1, 2 and infinity (irreducible, attained)" in text


def test_small_weights_are_known_as_well_as_large_ones():
    """A ring with one strong and many weak links: the vector in closed form, over 24 orders of magnitude."""
    n, weak = 6, 1e-5
    ring = np.roll(np.eye(n), 1, axis=0) * weak
    ring[0, -1] = 1.0
    found = fm.perron_weights(ring - 2 * np.eye(n))
    root = weak ** ((n - 1) / n)
    np.testing.assert_allclose(found.abscissa, root - 2, rtol=1e-12)
    np.testing.assert_allclose(found.right, (weak / root) ** np.arange(n), rtol=1e-9)


def test_a_hierarchy_is_approached_and_says_so():
    """Two levels of one rate: no weights attain it, since `expm(t A)` grows as `t exp(-t)`."""
    found = fm.perron_weights(np.asarray([[-1.0, 0.0], [5.0, -1.0]]))
    assert not found.irreducible
    assert not found.attained
    assert 1 - 5e-3 <= found.rate < 1
    assert found.condition > 1e3
    assert "reducible, approached: the abscissa is -1" in str(found)
    # Independent numbers are reducible too, and need no weights.
    apart = fm.perron_weights(np.diag([-1.0, -3.0]))
    assert apart.attained
    np.testing.assert_allclose(apart.rate, 1.0)
    np.testing.assert_allclose(fm.perron_weights(np.zeros((2, 2))).rate, 0.0, atol=1e-12)


def test_what_has_no_perron_vector_is_refused():
    with pytest.raises(ValueError, match=r"must be Metzler.* got -0.3 at \[1, 0\].*`fm.fit_metric"):
        fm.perron_weights(np.asarray([[-1.0, 2.0], [-0.3, -1.0]]))
    with pytest.raises(ValueError, match=r"`matrix` must be square"):
        fm.perron_weights(np.ones(3))
    with pytest.raises(ValueError, match=r"`matrix` must be finite"):
        fm.perron_weights(np.asarray([[np.nan, 1.0], [1.0, 0.0]]))
