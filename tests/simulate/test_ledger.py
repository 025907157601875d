"""The energy ledger closes where flow, potential and metric agree, and only there."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.zoo import STATE_DEPENDENT, arm_mass, arm_potential, toggle

TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def worst(run):
    assert run.ledger[0] == 0
    return float(np.abs(run.ledger).max())


FLOWS = {
    name: fm.GradientFlow(potential, fm.DenseMetric(mass)) for name, (potential, mass, _) in STATE_DEPENDENT.items()
}


@pytest.mark.parametrize("name", list(STATE_DEPENDENT))
@pytest.mark.parametrize("solver", [None, "stiff"])
def test_dense_state_dependent_metrics(name, solver):
    run = fm.simulate(FLOWS[name], jnp.asarray(STATE_DEPENDENT[name][2]), 2.0, solver=solver, **TIGHT)
    assert worst(run) < 1e-7


@pytest.mark.parametrize(
    "metric",
    [
        fm.Euclidean(),
        fm.ConstantMetric(np.asarray([[2.0, 0.5], [0.5, 1.0]])),
        fm.DiagonalMetric(lambda y, args: 1 + y**2),
        fm.MovingMetric(lambda t, y, args: (1 + t**2) * STATE_DEPENDENT["generic"][1](y, None)),
    ],
    ids=["euclidean", "constant", "diagonal", "moving"],
)
def test_other_metrics(metric):
    potential, _, y0 = STATE_DEPENDENT["generic"]
    run = fm.simulate(fm.GradientFlow(potential, metric), jnp.asarray(y0), 2.0, **TIGHT)
    assert worst(run) < 1e-7


@pytest.mark.parametrize("damping", [0.0, 0.8, np.asarray([[0.5, 0.1], [0.1, 0.3]])], ids=["none", "number", "matrix"])
def test_mechanical_energy(damping):
    flow = fm.InertialFlow(arm_potential, fm.DenseMetric(arm_mass), damping)
    run = fm.simulate(flow, (jnp.asarray([1.0, -0.6]), jnp.asarray([0.4, 0.9])), 4.0, **TIGHT)
    assert worst(run) < 1e-7


def test_toggle_switch_dissipates_what_was_computed_independently():
    """From (1, 8) over T = 20 both sides of the ledger are 0.2590878."""
    run = fm.simulate(toggle(), {"u": 1.0, "v": 8.0}, 20.0, **TIGHT)
    np.testing.assert_allclose(run.dissipated[-1], 0.2590878, atol=5e-8)
    np.testing.assert_allclose(run.potential[0] - run.potential[-1], 0.2590878, atol=5e-8)
    assert worst(run) < 1e-7


GENERIC, MASS, Y0 = STATE_DEPENDENT["generic"]


class _Unlike(fm.AbstractMetric):
    """A metric whose `flat` is twice the inverse of its `sharp`: one side of the ledger ignores half of it."""

    metric: fm.AbstractMetric

    def __call__(self, y, args=None):
        return 2 * self.metric(y, args)

    def flat(self, y, vector, args=None):
        return 2 * self.metric.flat(y, vector, args)

    def sharp(self, y, covector, args=None):
        return self.metric.sharp(y, covector, args)

    def at(self, t):
        return self


CLAIM = fm.VectorField(
    lambda t, y, c: -(c[0] * fm.DenseMetric(MASS).sharp(y, jax.grad(GENERIC)(y, c)) + c[1] * jax.grad(GENERIC)(y, c)),
    fm.DenseMetric(lambda y, c: c[2] * MASS(y, c) + c[3] * jnp.eye(2)),
    lambda y, c: c[4] * GENERIC(y, c),
)
"""A field that claims to descend: its part in the metric, its part without, the metric's two parts, the potential's."""

BROKEN = {
    "flipped sign": (-1.0, 0.0, 1.0, 0.0, 1.0),
    "metric ignored by the field": (0.0, 1.0, 1.0, 0.0, 1.0),
    "metric ignored by the ledger": (1.0, 0.0, 0.0, 1.0, 1.0),
    "another potential": (1.0, 0.0, 1.0, 0.0, 1.1),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_the_ledger_of_a_broken_flow_does_not_close(name):
    """Negative controls: the integrand is not `grad f . y'`, which would close for any velocity."""
    assert worst(fm.simulate(CLAIM, jnp.asarray(Y0), 0.5, args=np.asarray(BROKEN[name]), **TIGHT)) > 0.05


def test_a_flat_that_is_not_the_inverse_of_sharp_does_not_close():
    flow = fm.GradientFlow(GENERIC, _Unlike(fm.DenseMetric(MASS)))
    assert worst(fm.simulate(flow, jnp.asarray(Y0), 0.5, **TIGHT)) > 0.05


def test_the_right_vector_field_closes():
    """The positive control of the broken ones: the same construction, unbroken."""
    right = np.asarray([1.0, 0.0, 1.0, 0.0, 1.0])
    assert worst(fm.simulate(CLAIM, jnp.asarray(Y0), 2.0, args=right, **TIGHT)) < 1e-7


def test_without_a_potential_there_is_no_ledger():
    run = fm.simulate(fm.VectorField(lambda t, y, args: -y), jnp.ones(2), 1.0)
    assert run.ledger is None
    assert run.potential is None
    assert run.gradient_norm is None
    assert run.dissipated is None
    assert "ledger" not in str(run)


def test_the_ledger_at_an_equilibrium_is_zero():
    run = fm.simulate(fm.GradientFlow(lambda y, args: 3.0 + jnp.sum(y**2)), jnp.zeros(2), 1.0)
    np.testing.assert_array_equal(run.ledger, 0)
    near = fm.simulate(toggle(), jax.tree.map(jnp.asarray, toggle().equilibria()[1].state), 1.0)
    assert np.isfinite(near.ledger).all()
    assert worst(near) < 1e-2


def test_the_ledger_has_no_say_in_the_steps():
    """The same steps with and without a potential to balance."""
    flow = toggle()
    bare = fm.VectorField(lambda t, y, args: flow.vector_field(t, y, args))
    for solver in (diffrax.Tsit5(), diffrax.Dopri8()):
        with_ledger = fm.simulate(flow, {"u": 1.0, "v": 8.0}, 20.0, solver=solver)
        without = fm.simulate(bare, {"u": 1.0, "v": 8.0}, 20.0, solver=solver)
        np.testing.assert_allclose(with_ledger.ts, without.ts, rtol=1e-8)


def test_the_order_of_the_ledger_is_that_of_the_solver():
    """Fixed steps, halved: the imbalance of a fifth-order method falls by about 2^5."""
    flow, y0 = FLOWS["exponential"], STATE_DEPENDENT["exponential"][2]
    imbalance = [
        worst(fm.simulate(flow, jnp.asarray(y0), 1.6, controller=diffrax.ConstantStepSize(), dt0=h))
        for h in (0.2, 0.1, 0.05)
    ]
    orders = np.log2(np.asarray(imbalance[:-1]) / np.asarray(imbalance[1:]))
    assert (orders > 4.0).all(), orders
