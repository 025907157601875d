"""Whether trajectories stay in a box: proved from its faces, and only where the field is Lipschitz around it."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.contraction import VERIFIER
from flowmod.contraction.certificate._derivative import jacobian_of
from flowmod.contraction.certificate._jaxpr import program_of
from flowmod.contraction.certificate.invariance import invariance_of

from .test_verify import redigested


def power(y, exponent):
    return jnp.where(y > 0, jnp.where(y > 0, y, 1.0) ** exponent, 0.0)


def answer(field, low, high, max_boxes=200):
    program = program_of(field, 1)
    return invariance_of(program, jacobian_of(program), 1, np.array([low]), np.array([high]), max_boxes)


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        (lambda y: jnp.where(y < 1, 5 - y, -y), 0.0, 1.0),  # inward on the face, and outward all the way up to it
        (lambda y: jnp.where(y == 1, -2 - y, 5 - y), 0.0, 1.0),
        (lambda y: jnp.where(y > 0, 1.0, -y), -1.0, 0.0),  # y' = 1 from 0 on
        (lambda y: power(y, 0.5), -1.0, 0.0),  # no jump, but y = t^2 / 4 leaves, too
        (lambda y: jnp.where(jnp.abs(y) < 0.5, 1.0, -y), -1.0, 1.0),
    ],
)
def test_a_field_without_unique_solutions_is_undecided(field, low, high):
    invariance = answer(field, low, high)
    assert invariance.status == "undecided"
    assert "may jump, or have no finite slope" in str(invariance)
    assert invariance.obstacle is not None


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        (lambda y: -y, 0.0, 1.0),  # along the lower face, which needs the field beyond it
        (lambda y: -jnp.maximum(y, 0) - jnp.abs(y), 0.0, 1.0),  # with a kink there
        (lambda y: 0.5 - power(y, 0.5), 0.1, 1.0),
        (lambda y: 1 - y - power(y, 1.5), 0.0, 1.0),  # strictly inward where the slope beyond is not known
        (lambda y: jnp.where(y > 1, 7.0, -y - 0.1 * y**3), -0.5, 0.9),  # a jump elsewhere
    ],
)
def test_where_solutions_are_unique_the_faces_suffice(field, low, high):
    invariance = answer(field, low, high)
    assert invariance.status == "proved", invariance
    corners = invariance.pieces[:, 0].min(), invariance.pieces[:, 1].max()
    assert low - 1e-300 <= corners[0] <= low < high <= corners[1] <= np.nextafter(high, np.inf)


def test_a_jump_at_one_point_of_a_face_does_not_disprove():
    assert answer(lambda y: jnp.where(y == 1, 5.0, -y), 0.0, 1.0).status == "undecided"
    escape = answer(lambda y: 2 - y, 0.0, 1.0)
    assert escape.status == "disproved"
    assert escape.witness.lower < 1 < escape.witness.upper


def test_the_checker_wants_to_know_the_field_beyond_a_face_that_is_not_strict(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(VERIFIER.parent)
    import verify  # pyright: ignore[reportMissingImports]

    flow = fm.VectorField(lambda t, y, args: jnp.where(y > 0, 1.0, -y))
    certificate = fm.certify(flow, (jnp.array([-1.0]), jnp.array([0.0])), invariant=True)
    assert (certificate.status, certificate.invariance.status) == ("proved", "undecided")
    path = certificate.save(tmp_path / "edge.json")
    assert str(fm.Certificate.load(path)) == str(certificate)
    data = json.loads(path.read_text())
    assert list(verify.problems(data)) == []
    data["invariance"].update(status="proved", pieces={"lower": [[-1.0]], "upper": [[0.0]]})
    assert list(verify.problems(redigested(data))) == [
        "invariance: nothing is known of the field beyond the upper face of y[0]"
    ]
    data["invariance"]["pieces"]["upper"] = [[1e-300]]
    assert any("piece 0: a condition changes" in problem for problem in verify.problems(redigested(data)))
    # Nor is a point of the face at which the field points outward taken for more than it is.
    data["invariance"].update(
        status="disproved", witness={"axis": 0, "side": "upper", "lower": [-1e-300], "upper": [1e-300]}
    )
    assert any("not proved to leave the box" in problem for problem in verify.problems(redigested(data)))
