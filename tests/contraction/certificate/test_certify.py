"""A proved rate holds at every point, a disproved one has its point, and nothing that is not defined is proved."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.contraction.certificate import _bounds

from ... import zoo

EUCLIDEAN = fm.Euclidean()


def linear(matrix):
    matrix = jnp.asarray(matrix)
    return fm.VectorField(lambda t, y, args: matrix @ y)


def square(radius, n=2):
    return jnp.full(n, -radius), jnp.full(n, radius)


def toggle_box(u, v):
    return {"u": u[0], "v": v[0]}, {"u": u[1], "v": v[1]}


# --- what is known in closed form ---


@pytest.mark.parametrize("matrix", [[[-1.0, 0.5], [0.2, -2.0]], [[-3.0, 4.0], [-1.0, -1.0]]])
def test_the_rate_of_a_linear_system(matrix):
    certificate = fm.certify(linear(matrix), square(1.0))
    exact = -np.linalg.eigvalsh((np.array(matrix) + np.array(matrix).T) / 2)[-1]
    assert certificate.status == "proved"
    assert exact * 0.99 <= certificate.rate <= exact
    assert certificate.upper == pytest.approx(exact, rel=1e-12)


def test_a_linear_system_that_expands_is_disproved():
    certificate = fm.certify(linear([[-1.0, 4.0], [0.0, -1.0]]), square(1.0))
    assert certificate.status == "disproved"
    # Stable and yet not contracting in this metric: the symmetric part has the eigenvalue 1.
    assert certificate.witness.rate == pytest.approx(-1.0)
    d, s = certificate.witness.direction, np.array([[-1.0, 2.0], [2.0, -1.0]])
    assert d @ s @ d == pytest.approx(1.0)


@pytest.mark.parametrize("matrix", [[[-1.0, 2.0], [0.0, -1.0]], [[0.0, 1.0], [-1.0, 0.0]]])
def test_a_marginal_system_is_undecided(matrix):
    certificate = fm.certify(linear(matrix), square(1.0))
    assert certificate.status == "undecided"
    assert abs(certificate.margin) < 1e-12
    assert "within rounding of zero" in str(certificate)


def test_other_norms_and_factors():
    matrix = np.array([[-2.0, 1.5], [0.25, -1.0]])
    flow, weights = linear(matrix), np.array([1.0, 2.0])
    turned = np.array([[0.0, 2.0], [1.0, 0.5]])  # elimination needs an exchange
    for factor, theta in ((None, np.eye(2)), (weights, np.diag(weights)), (turned, turned)):
        scaled = theta @ matrix @ np.linalg.inv(theta)
        diagonal, rest = np.diag(scaled), np.abs(scaled - np.diag(np.diag(scaled)))
        for norm, growth in ((1, diagonal + rest.sum(0)), (jnp.inf, diagonal + rest.sum(1))):
            certificate = fm.certify(flow, square(1.0), norm=norm, factor=factor)
            assert certificate.upper == pytest.approx(-growth.max(), rel=1e-12)
            if -growth.max() > 0:
                assert -growth.max() * 0.99 <= certificate.rate <= -growth.max() + 1e-15
            else:
                assert certificate.status == "disproved"
    both = (
        fm.certify(flow, square(1.0), factor=turned),
        fm.certify(flow, square(1.0), fm.ConstantMetric(turned.T @ turned)),
    )
    assert both[0].rate == pytest.approx(both[1].rate, rel=1e-3)


def test_the_toggle_switch_contracts_globally_below_the_known_bound():
    box = toggle_box((-1e-9, 1.5 + 1e-9), (-1e-9, 1.5 + 1e-9))
    certificate = fm.certify(fm.bio.toggle_switch(1.5, 1.5), box, EUCLIDEAN, invariant=True)
    exact = 1 - 1.5 * 3 * math.sqrt(3) / 8
    assert certificate.status == certificate.invariance.status == "proved"
    assert exact * 0.98 <= certificate.rate <= exact
    assert "stay in it (proved" in str(certificate)
    # Above 8 / (3 sqrt 3) = 1.5396 the supremum of the slope is reached, and no certificate may say otherwise.
    above = fm.certify(fm.bio.toggle_switch(1.6, 1.6), toggle_box((0.0, 1.6), (0.0, 1.6)), EUCLIDEAN)
    assert above.status == "disproved"


def test_the_toggle_switch_in_its_own_metric():
    flow, u, v = fm.bio.toggle_switch(3.0, 3.0), (3 + 5**0.5) / 2, (3 - 5**0.5) / 2
    stable = fm.certify(flow, toggle_box((u - 0.1, u + 0.1), (v - 0.1, v + 0.1)), rtol=0.05)
    assert stable.status == "proved"
    grid = np.random.default_rng(0).uniform(stable.corners[0], stable.corners[1], size=(20, 2))
    rates = [fm.contraction_rate(flow, {"u": jnp.asarray(x), "v": jnp.asarray(y)}) for x, y in grid]
    assert stable.rate <= min(rates)
    assert stable.upper * 0.95 <= stable.rate <= stable.upper <= min(rates)
    # uv = 1 and u = v at the saddle: the Jacobian has a positive eigenvalue there, so no metric contracts.
    saddle = fm.certify(flow, toggle_box((0.9, 1.1), (0.9, 1.1)))
    assert saddle.status == "disproved"
    place = {"u": jnp.asarray(saddle.witness.state["u"]), "v": jnp.asarray(saddle.witness.state["v"])}
    assert saddle.witness.rate == pytest.approx(float(fm.contraction_rate(flow, place)))


def test_the_plasmid_near_its_stable_state_and_over_its_saddle():
    flow = zoo.toggle()
    metric = fm.ConstantMetric(np.diag([0.01, 1.0]))
    assert fm.certify(flow, toggle_box((150.0, 156.0), (0.09, 0.12)), metric, rtol=0.1).status == "proved"
    assert fm.certify(flow, toggle_box((1.2, 1.4), (6.5, 7.0)), metric).status == "disproved"


@pytest.mark.parametrize("kind", ["flow", "field"])
def test_rosenbrock_contracts_at_rate_one_in_its_own_metric(kind):
    metric = fm.PullbackMetric(lambda y, args: zoo.rosenbrock_residual(y))
    flow = fm.GradientFlow(zoo.rosenbrock, metric)
    if kind == "field":

        def field(t, y, args):
            return jnp.stack([1 - y[0], -(y[1] - y[0] ** 2) + 2 * y[0] * (1 - y[0])])

        flow = fm.VectorField(field, metric)
    certificate = fm.certify(flow, (jnp.array([-0.2, -0.1]), jnp.array([0.2, 0.2])), rtol=9e-3)
    assert certificate.status == "proved"
    assert 0.99 <= certificate.rate <= 1


@pytest.mark.parametrize("name", ["generic", "exponential"])
def test_the_certified_matrices_are_those_of_the_dense_rate(name):
    potential, mass, start = zoo.STATE_DEPENDENT[name]
    flow, y = fm.GradientFlow(potential, fm.DenseMetric(mass)), jnp.array(start)
    certificate = fm.certify(flow, (y - 1e-6, y + 1e-6), max_boxes=1)
    rate = float(fm.contraction_rate(flow, y))
    assert certificate.upper == pytest.approx(rate, abs=1e-4)
    assert certificate.rate == pytest.approx(rate, abs=1e-3)


def test_a_flow_and_a_metric_that_depend_on_the_time():
    def field(t, y, args):
        return -(2 + jnp.sin(t)) * y

    growing = fm.MovingMetric(lambda t, y, args: jnp.exp(t) * jnp.eye(2))
    plain = fm.certify(fm.VectorField(field), square(1.0), t=(0.0, 2 * math.pi), invariant=True)
    assert plain.status == plain.invariance.status == "proved"
    assert 0.99 <= plain.rate <= 1
    assert plain.times == (0.0, 2 * math.pi)
    # M = e^t I grows at rate 1, half of which distances have.
    moving = fm.certify(fm.VectorField(field, growing), square(1.0), t=(0.0, 1.0))
    assert 1.5 * 0.99 <= moving.rate <= 1.5
    with pytest.raises(ValueError, match=r"`t` must be given as `\(t0, t1\)`"):
        fm.certify(fm.VectorField(field), square(1.0))


def test_invariance_of_a_forced_system():
    flow = fm.VectorField(lambda t, y, args: -y + 0.5 * jnp.sin(t))
    assert fm.certify(flow, square(1.0), t=(0.0, 7.0), invariant=True).invariance.status == "proved"
    escape = fm.certify(flow, square(0.4), t=(0.0, 7.0), invariant=True).invariance
    assert escape.status == "disproved"
    assert "the field leaves it" in str(escape)


# --- what must not be proved ---


@pytest.mark.parametrize(
    "field",
    [
        lambda t, y, args: -2 * y + jnp.sign(y - 0.3) * y,
        lambda t, y, args: -y - jnp.where(y > 0.3, 1.0, 2.0) * 0.1 * y,
        lambda t, y, args: -2 * y + (y > 0.3).astype(y.dtype) * 0.5,
    ],
)
def test_a_field_that_jumps_is_not_proved(field):
    certificate = fm.certify(fm.VectorField(field), square(1.0, 1), max_boxes=200)
    assert certificate.status == "undecided"
    assert certificate.rate == -math.inf
    # Where nothing jumps the same field is proved.
    assert fm.certify(fm.VectorField(field), (jnp.array([0.4]), jnp.array([1.0]))).status == "proved"


def test_a_kink_is_no_jump():
    flow = fm.VectorField(lambda t, y, args: -y + 0.5 * jnp.where(y > 0.3, y - 0.3, 0.0))
    certificate = fm.certify(flow, square(1.0, 1))
    assert certificate.status == "proved"
    assert certificate.rate == pytest.approx(0.5, rel=1e-2)


@jax.custom_jvp
def identity(y):
    return y


identity.defjvp(lambda primals, tangents: (primals[0], -3 * tangents[0]))


def stopped(y):
    return jax.lax.stop_gradient(y)


@pytest.mark.parametrize(
    ("flow", "metric", "rate"),
    [
        (fm.VectorField(lambda t, y, args: -y + stopped(2 * y)), None, -1.0),
        (fm.VectorField(lambda t, y, args: -3 * y + stopped(2 * y)), None, 1.0),
        (fm.VectorField(lambda t, y, args: identity(y)), None, -1.0),
        # The flow descends what JAX says is the gradient: y - 2 y, and y + y.
        (fm.GradientFlow(lambda y, args: jnp.sum(y**2 / 2 - 2 * stopped(y) * y)), None, -1.0),
        (fm.GradientFlow(lambda y, args: jnp.sum(y**2 / 2 + stopped(y) * y)), None, 2.0),
        # M' / 2M = y' = 3 - y, and J = -1: the rate is y - 2.
        (
            fm.VectorField(lambda t, y, args: -y + 3),
            fm.DenseMetric(lambda y, args: jnp.diag(stopped(jnp.exp(2 * y)))),
            -3.0,
        ),
    ],
)
def test_the_rate_is_that_of_the_field_whatever_the_derivative_rules_say(flow, metric, rate):
    certificate = fm.certify(flow, square(1.0, 1), metric)
    assert certificate.status == ("proved" if rate > 0 else "disproved")
    assert certificate.upper == pytest.approx(rate, abs=1e-2)
    assert certificate.rate <= rate


def test_the_jacobian_of_a_pullback_is_the_one_that_jax_takes():
    # K = 1 + y^2 and not 1 + 3 y^2, so y' = -y in M = K^2: the rate is 1 + y K' / K.
    def residual(y, args):
        return y * stopped(1 + y**2)

    flow = fm.GradientFlow(lambda y, args: jnp.sum(residual(y, args) ** 2) / 2, fm.PullbackMetric(residual))
    certificate = fm.certify(flow, (jnp.array([0.5]), jnp.array([1.0])))
    exact = 1 + 2 * 0.5**2 / (1 + 0.5**2)
    assert exact * 0.99 <= certificate.rate <= exact


def test_both_slopes_of_a_kink_and_not_their_sum_count():
    flow = fm.VectorField(lambda t, y, args: -3 * y + jnp.maximum(2 * y + 0.05, y + 0.025))
    assert 0.99 <= fm.certify(flow, square(1.0, 1)).rate <= 1


def test_the_shift_of_a_softmax_does_not_count():
    # It is the largest entry, whose kinks would be all that intervals see.
    certificate = fm.certify(fm.VectorField(lambda t, y, args: -2 * y + jax.nn.softmax(y)), square(0.3, 3), rtol=0.1)
    assert certificate.status == "proved"
    # At equal entries, where the Jacobian of a softmax of 3 has the eigenvalue 1/3, it is not yet the smallest.
    assert 1.4 < certificate.rate < 2 - 1 / 3


@pytest.mark.parametrize(
    "field",
    [
        lambda y: 0.5 * y - 1.5 * (jax.nn.relu(y) - jax.nn.relu(-y)),  # -y
        lambda y: y - 4 * jnp.sign(y) * jnp.abs(y),  # -3 y
        lambda y: jnp.where(y == 0, y, -y),  # -y
    ],
)
@pytest.mark.parametrize("norm", [2, 1])
def test_the_slope_at_a_kink_disproves_nothing(field, norm):
    flow = fm.VectorField(lambda t, y, args: field(y))
    assert fm.certify(flow, square(1.0, 1), norm=norm).status == "undecided"
    assert fm.certify(fm.VectorField(lambda t, y, args: -field(y)), square(1.0, 1), norm=norm).status == "disproved"


@pytest.mark.parametrize("norm", [2, jnp.inf])
def test_a_disproof_holds_in_a_box_around_its_point(norm):
    certificate = fm.certify(linear([[-1.0, 4.0], [0.0, -1.0]]), square(1.0), norm=norm)
    low, high = certificate.witness.around
    assert (low < high).all()
    assert (low <= certificate.witness.point).all()
    assert (certificate.witness.point <= high).all()
    assert (np.abs([low, high]) <= 1).all()


def test_boxes_are_not_halved_down_to_the_smallest_float():
    flow = fm.VectorField(lambda t, y, args: jnp.where(y < 0, -y, 10 - y))
    assert len(fm.certify(flow, (jnp.array([-1.0]), jnp.array([2.0])), max_boxes=5000).bounds) < 100


def test_a_box_as_large_as_floats_has_a_rate():
    assert fm.certify(fm.VectorField(lambda t, y, args: -y), square(1e308, 1)).rate >= 0.99


def test_a_marginal_system_would_be_decided_by_rounding_inward(monkeypatch):
    flow = linear([[-1.0, 2.0], [0.0, -1.0]])
    assert fm.certify(flow, square(1.0)).status == "undecided"
    monkeypatch.setattr(_bounds, "_UNIT", -_bounds._UNIT)
    monkeypatch.setattr(_bounds, "_TINY", 0.0)
    assert fm.certify(flow, square(1.0)).status == "disproved"


def test_a_metric_that_loses_definiteness_is_no_proof():
    metric = fm.DenseMetric(lambda y, args: jnp.diag(jnp.stack([y[0], jnp.ones_like(y[0])])))
    flow = linear([[-1.0, 0.0], [0.0, -1.0]])
    within = fm.certify(flow, (jnp.array([-1.0, 0.0]), jnp.array([2.0, 1.0])), metric)
    assert within.status == "undecided"
    assert "not positive definite" in within.reason
    touching = fm.certify(flow, (jnp.array([0.0, 0.0]), jnp.array([1.0, 1.0])), metric, max_boxes=50)
    assert touching.status == "undecided"
    assert touching.rate == -math.inf


def test_what_is_undefined_is_no_proof():
    flow = fm.VectorField(lambda t, y, args: -y - 0 * jnp.log(y))
    assert fm.certify(flow, square(1.0, 1)).status == "undecided"
    constants = (
        lambda t, y, args: -y * jnp.array([1.0, jnp.nan]),
        lambda t, y, args: -y + jnp.inf * (y - y),
        lambda t, y, args: -y + (jnp.where(y > 0, jnp.inf, jnp.inf) - jnp.inf),
    )
    for field in constants:
        assert fm.certify(fm.VectorField(field), square(1.0)).status == "undecided"


def test_a_metric_that_is_not_symmetric_is_refused():
    metric = fm.DenseMetric(lambda y, args: jnp.array([[1.0, 0.5], [0.0, 1.0]]) + 0 * y[0])
    with pytest.raises(ValueError, match=r"`metric` must be symmetric, but \|M - M\^T\| is 0.5"):
        fm.certify(linear(-np.eye(2)), square(1.0), metric)


def test_few_boxes_prove_less_but_nothing_wrong():
    flow = fm.VectorField(lambda t, y, args: -y * (1 + y**2) + 0.3 * jnp.sin(3 * y[::-1]))
    rates = [fm.certify(flow, square(1.0), max_boxes=most).rate for most in (1, 8, 4000)]
    assert rates[0] < rates[1] < rates[2]
    assert fm.certify(flow, square(1.0), max_boxes=8).reason == "`max_boxes` were used up"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": jnp.zeros(2)}, "`box` must be a pair"),
        ({"box": (jnp.zeros(2), {"u": jnp.zeros(2)})}, "`box` must be two trees of one structure"),
        ({"box": (jnp.zeros(2), jnp.zeros(2))}, r"`box` must have finite corners, lower < upper everywhere"),
        ({"box": (jnp.zeros(2), jnp.array([1.0, jnp.inf]))}, "`box` must have finite corners"),
        ({"box": (jnp.zeros(3), jnp.ones(3))}, "`box` must be two trees like the state of the flow"),
        ({"box": ({"u": 0.0}, {"u": 1.0})}, "`box` must be two trees like the state of the flow"),
        ({"box": (jnp.zeros(21), jnp.ones(21))}, r"at most 20 numbers, got 21.*`fm.compose`"),
        ({"norm": 3}, "`norm` must be 1, 2"),
        ({"metric": EUCLIDEAN, "factor": np.eye(2)}, "Give `metric` or `factor`, not both"),
        ({"metric": np.eye(2)}, "`metric` must be a metric"),
        ({"metric": fm.ConstantMetric(np.eye(2)), "norm": 1}, "need a diagonal metric or a `factor`"),
        ({"factor": np.eye(3)}, r"`factor` must be an \(2, 2\) matrix"),
        ({"t": (1.0, 0.0)}, "`t` must be a pair of finite times"),
        ({"rtol": 0.0}, "`rtol` must be between 0 and 1"),
        ({"max_boxes": 0}, "`max_boxes` must be at least 1"),
        ({"flow": 3}, "`flow` must be a flow"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"flow": linear(-np.eye(2)), "box": square(1.0)} | change
    with pytest.raises(ValueError, match=message):
        fm.certify(**arguments)


def test_an_unsupported_operation_is_named_with_its_line():
    flow = fm.VectorField(lambda t, y, args: -jnp.floor(y))
    with pytest.raises(ValueError, match=r"`floor` at .*test_certify\.py:\d+"):
        fm.certify(flow, square(1.0))
