"""No certificate of a hundred random systems contradicts dense sampling, and the checker agrees with all."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.contraction import VERIFIER

SYSTEMS, SAMPLES = 100, 100_000


def field(t, y, coefficients):
    """Both components are cubic polynomials, `coefficients` (2, 4, 4) of the powers of `u` and `v`."""
    powers = jnp.stack([jnp.ones_like(y), y, y * y, y**3])
    return jnp.einsum("kij,i,j->k", coefficients, powers[:, 0], powers[:, 1])


def random_system(rng):
    coefficients = rng.uniform(-0.3, 0.3, (2, 4, 4)) * (np.add.outer(np.arange(4), np.arange(4)) <= 3)
    coefficients[0, 1, 0] -= 1
    coefficients[1, 0, 1] -= 1
    return coefficients, rng.uniform(-0.5, 0.5, 2), rng.uniform(0.1, 0.7)


def largest_growth(coefficients, points):
    """The largest eigenvalue of the symmetric part of the Jacobian, in closed form."""
    u, v = (np.stack([np.ones_like(x), x, x * x, x**3], axis=1) for x in points.T)
    du, dv = (np.stack([np.zeros_like(x), np.ones_like(x), 2 * x, 3 * x * x], axis=1) for x in points.T)
    (a, c), (b, d) = ([((left @ c) * right).sum(axis=1) for c in coefficients] for left, right in ((du, v), (u, dv)))
    return (a + d) / 2 + np.hypot((a - d) / 2, (b + c) / 2)


@pytest.fixture(scope="module")
def certified():
    rng, flow, found = np.random.default_rng(20260304), fm.VectorField(field), []
    for _ in range(SYSTEMS):
        coefficients, centre, radius = random_system(rng)
        box = jnp.asarray(centre - radius), jnp.asarray(centre + radius)
        certificate = fm.certify(flow, box, args=jnp.asarray(coefficients), rtol=0.3, max_boxes=12)
        found.append((coefficients, certificate))
    return found


def test_no_certificate_contradicts_dense_sampling(certified):
    rng, shares = np.random.default_rng(1), []
    for coefficients, certificate in certified:
        points = rng.uniform(*certificate.corners, size=(SAMPLES, 2))
        rates = -largest_growth(coefficients, points)
        assert certificate.rate <= rates.min()
        # The bound of every box holds on it.
        inside = (points[None, :2000] >= certificate.boxes[:, :1]) & (points[None, :2000] <= certificate.boxes[:, 1:])
        assert (np.where(inside.all(axis=2), rates[None, :2000], np.inf).min(axis=1) >= certificate.bounds).all()
        if certificate.status == "disproved":
            assert -largest_growth(coefficients, certificate.witness.point[None])[0] <= 0
        shares.append(certificate.status)
    # The systems are neither all easy nor all hard.
    assert min(shares.count(status) for status in ("proved", "disproved")) >= 10


def test_sampling_would_see_a_rate_that_is_too_large(certified):
    coefficients, certificate = next(pair for pair in certified if pair[1].status == "proved")
    points = np.random.default_rng(1).uniform(*certificate.corners, size=(SAMPLES, 2))
    assert (-largest_growth(coefficients, points)).min() < certificate.upper + 0.05 * abs(certificate.upper)


def test_the_checker_agrees_with_all(certified, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(VERIFIER.parent)
    import verify  # pyright: ignore[reportMissingImports]

    for _, certificate in certified:
        data = json.loads(certificate.save(tmp_path / "certificate.json").read_text())
        assert list(verify.problems(data)) == []
