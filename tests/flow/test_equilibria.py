"""Fixed points: against closed forms and published numbers, with honest words."""

import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.zoo import toggle


def test_toggle_switch_of_biomd507():
    """Equilibria, eigenvalues and barriers that were computed independently of this package."""
    found = toggle().equilibria()
    states = {point.stability + str(index): point for index, point in enumerate(found)}
    assert [point.stability for point in found] == ["stable node", "stable node", "saddle"], states
    right, left, saddle = found
    expected = [
        (right, (155.7634077, 0.0995130), (-0.912047, -1.087953), 78.888478),
        (left, (0.3324186, 11.7080324), (-0.211086, -1.788914), 204.441191),
        (saddle, (1.3165461, 6.7341635), (0.186944, -2.186944), 204.751608),
    ]
    for point, state, eigenvalues, potential in expected:
        np.testing.assert_allclose([point.state["u"], point.state["v"]], state, atol=1e-6)
        np.testing.assert_allclose(point.eigenvalues.real, eigenvalues, atol=1e-6)
        np.testing.assert_allclose(point.eigenvalues.imag, 0)
        np.testing.assert_allclose(point.potential, potential, atol=1e-6)
    np.testing.assert_allclose(saddle.potential - left.potential, 0.310417, atol=1e-6)
    np.testing.assert_allclose(saddle.potential - right.potential, 125.86313, atol=1e-6)
    assert found.stable == (right, left)
    assert found.saddles == (saddle,)


def test_symmetric_toggle_switch_has_closed_forms():
    """a = 4, n = 2: (2 - sqrt 3, 2 + sqrt 3), its mirror image, and the real root of u^3 + u = 4."""
    found = fm.bio.toggle_switch(4.0, 4.0).equilibria()
    small, large = 2 - np.sqrt(3), 2 + np.sqrt(3)
    points = sorted((float(p.state["u"]), float(p.state["v"]), p.stability) for p in found)
    np.testing.assert_allclose([p[:2] for p in points], [(small, large), (1.3787967,) * 2, (large, small)], atol=1e-7)
    assert [p[2] for p in points] == ["stable node", "saddle", "stable node"]


@pytest.mark.parametrize(("a", "count"), [(1.99, 1), (2.01, 3)])
def test_the_pitchfork_is_at_two(a, count):
    assert len(fm.bio.toggle_switch(a, a).equilibria()) == count


@pytest.mark.parametrize(
    ("matrix", "word"),
    [
        ([[-1.0, 0.0], [0.0, -2.0]], "stable node"),
        ([[-1.0, 3.0], [-3.0, -1.0]], "stable focus"),
        ([[1.0, 0.0], [0.0, 2.0]], "unstable node"),
        ([[1.0, 3.0], [-3.0, 1.0]], "unstable focus"),
        ([[1.0, 0.0], [0.0, -2.0]], "saddle"),
        ([[0.0, 3.0], [-3.0, 0.0]], "centre"),
    ],
)
def test_words_for_stability(matrix, word):
    flow = fm.VectorField(lambda t, y, args: jnp.asarray(matrix) @ (y - jnp.asarray([0.3, -0.2])))
    found = fm.equilibria(flow, (-jnp.ones(2), jnp.ones(2)))
    assert [point.stability for point in found] == [word]
    np.testing.assert_allclose(found[0].state, [0.3, -0.2], atol=1e-8)
    np.testing.assert_allclose(np.sort(found[0].eigenvalues), np.sort(np.linalg.eigvals(matrix)), atol=1e-8)
    assert found[0].potential is None


def test_a_fold_is_called_degenerate():
    flow = fm.VectorField(lambda t, y, args: jnp.stack([y[0] ** 3, -y[1]]))
    found = fm.equilibria(flow, (-jnp.ones(2), jnp.ones(2)))
    assert {point.stability for point in found} == {"degenerate"}


def test_points_outside_of_the_box_are_not_found():
    flow = fm.VectorField(lambda t, y, args: y * (y - 3.0))
    found = fm.equilibria(flow, (jnp.asarray([-1.0]), jnp.asarray([2.0])))
    assert len(found) == 1
    assert "found 1 equilibrium from 256 starts" in str(found)
    nothing = fm.equilibria(fm.VectorField(lambda t, y, args: y * 0 + 1.0), (jnp.zeros(1), jnp.ones(1)))
    assert len(nothing) == 0
    assert "found 0 equilibria" in str(nothing)


def test_an_inertial_flow_rests_where_its_potential_does():
    flow = fm.InertialFlow(lambda y, args: jnp.sum((y**2 - 1) ** 2), damping=0.5)
    corner = (jnp.full(1, 2.0), jnp.full(1, 1.0))
    found = fm.equilibria(flow, ((-corner[0], -corner[1]), corner))
    assert sorted(round(float(point.state[0][0]), 6) for point in found) == [-1.0, 0.0, 1.0]
    assert [point.stability for point in found] == ["stable focus", "stable focus", "saddle"]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((jnp.zeros(2), {"a": jnp.ones(2)}), "one structure"),
        ((jnp.ones(2), jnp.zeros(2)), "lower < upper"),
        ((jnp.zeros(2), jnp.full(2, jnp.inf)), "finite corners"),
    ],
)
def test_bad_boxes_are_refused(box, words):
    flow = fm.VectorField(lambda t, y, args: -y)
    with pytest.raises(ValueError, match=words):
        fm.equilibria(flow, box)
    with pytest.raises(ValueError, match="`starts` must be at least 1"):
        fm.equilibria(flow, (jnp.zeros(2), jnp.ones(2)), starts=0)
