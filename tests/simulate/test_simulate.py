"""`simulate`: what is saved, how a run ends, and that it composes with JAX."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import flowmod as fm
from tests.zoo import STATE_DEPENDENT, toggle

DECAY = fm.VectorField(lambda t, y, args: -y)
PENDULUM = fm.VectorField(lambda t, y, args: jnp.stack([y[1], -jnp.sin(y[0])]))


def test_saves_every_accepted_step_from_start_to_end():
    run = fm.simulate(DECAY, jnp.ones(2), 3.0)
    assert run.ts[0] == 0
    assert run.ts[-1] == 3
    assert len(run) == run.stats["accepted"] + 1
    assert isinstance(run.ts, np.ndarray)
    assert np.isfinite(run.ys).all()
    np.testing.assert_allclose(run.ys, np.exp(-run.ts)[:, None] * np.ones(2), rtol=1e-5)


def test_saves_exactly_at_the_times_asked_for():
    times = np.asarray([0.0, 0.3, 0.3, 2.0])
    run = fm.simulate(DECAY, jnp.ones(1), ts=times)
    np.testing.assert_array_equal(run.ts, times)
    np.testing.assert_allclose(run.ys[:, 0], np.exp(-times), rtol=1e-5)
    inside = fm.simulate(DECAY, jnp.ones(1), t0=-1.0, t1=4.0, ts=[0.5, 1.0])
    np.testing.assert_allclose(inside.ys[:, 0], np.exp(-1 - np.asarray([0.5, 1.0])), rtol=1e-5)
    assert inside.end_time == 4.0


def test_states_are_any_tree():
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y["a"] ** 2) + y["b"][0] ** 2)
    run = fm.simulate(flow, {"a": jnp.ones((2, 3)), "b": (0.5,)}, 1.0)
    assert run.ys["a"].shape == (len(run), 2, 3)
    assert run.ys["b"][0].shape == (len(run),)
    np.testing.assert_allclose(run.ys["b"][0], 0.5 * np.exp(-2 * run.ts), rtol=1e-5)


def test_an_equinox_module_is_a_state():
    """Its float arrays move; its activation stays."""
    net = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0))
    x = jnp.asarray([[0.5, -1.0], [1.0, 0.3]])

    def loss(net, args):
        return jnp.mean((jax.vmap(net)(x)[:, 0] - jnp.asarray([1.0, -1.0])) ** 2)

    run = fm.simulate(fm.GradientFlow(loss), net, 5.0, rtol=1e-8, atol=1e-10)
    assert run.ys.activation is net.activation
    assert run.ys.layers[0].weight.shape == (len(run), 3, 2)
    assert run.potential[-1] < run.potential[0]
    assert np.abs(run.ledger).max() < 1e-7


MATRIX = np.asarray([[2.0, 0.5], [0.5, 1.0]])
DOUBLE = fm.GradientFlow(lambda y, args: jnp.sum(y**2), fm.DenseMetric(lambda y, args: jnp.asarray(MATRIX)))
"""Its metric is double."""


@pytest.mark.parametrize("solver", [None, "stiff", diffrax.Kvaerno3()])
def test_float32_stays_float32(solver):
    """Also where the metric is double and times are Python floats; x64 is on here, its absence in a subprocess."""
    flow = DOUBLE
    observe = {"observe": lambda t, y, args: {"t": t, "sum": jnp.sum(y)}}
    run = fm.simulate(flow, jnp.ones(2, jnp.float32), 1.0, solver=solver, **observe)
    for leaf in (run.ts, run.ys, run.potential, run.gradient_norm, run.ledger, *run.observed.values()):
        assert leaf.dtype == np.float32
    members = fm.ensemble(flow, jnp.ones((3, 2), jnp.float32), 1.0)
    assert members.ys.dtype == np.float32
    assert np.abs(run.ledger).max() < 1e-3


def test_mixed_precision_keeps_each_leaf():
    y0 = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(2)}
    flow = fm.VectorField(lambda t, y, args: jax.tree.map(jnp.negative, y))
    run = fm.simulate(flow, y0, 1.0)
    assert run.ys["a"].dtype == np.float32
    assert run.ys["b"].dtype == np.float64


def test_long_runs_take_many_legs_and_are_the_same_run(monkeypatch):
    """A run in legs of 16 steps equals the run in one leg to the bit: steps, states, ledger, interpolant."""
    import importlib

    module = importlib.import_module("flowmod.simulate.simulate")
    flow, y0 = toggle(), {"u": 1.0, "v": 8.0}
    whole = fm.simulate(flow, y0, 20.0, rtol=1e-9, dense=True)
    at_times = fm.simulate(flow, y0, ts=np.linspace(0, 20, 57), rtol=1e-9)
    monkeypatch.setattr(module, "_capacity", lambda *args: 16)
    legs = fm.simulate(flow, y0, 20.0, rtol=1e-9, dense=True)
    assert len(whole) > 64
    for a, b in ((whole.ts, legs.ts), (whole.ys["u"], legs.ys["u"]), (whole.dissipated, legs.dissipated)):
        np.testing.assert_array_equal(a, b)
    assert whole.stats == legs.stats
    np.testing.assert_array_equal(whole(np.linspace(0, 20, 33))["v"], legs(np.linspace(0, 20, 33))["v"])
    legs_at_times = fm.simulate(flow, y0, ts=np.linspace(0, 20, 57), rtol=1e-9)
    np.testing.assert_array_equal(at_times.ys["u"], legs_at_times.ys["u"])
    np.testing.assert_array_equal(at_times.dissipated, legs_at_times.dissipated)


def test_implicit_runs_resume_too(monkeypatch):
    import importlib

    flow, y0 = toggle(), {"u": 1.0, "v": 8.0}
    whole = fm.simulate(flow, y0, 20.0, solver="stiff")
    monkeypatch.setattr(importlib.import_module("flowmod.simulate.simulate"), "_capacity", lambda *args: 16)
    legs = fm.simulate(flow, y0, 20.0, solver="stiff")
    assert len(whole) > 20
    np.testing.assert_array_equal(whole.ts, legs.ts)
    np.testing.assert_array_equal(whole.ys["u"], legs.ys["u"])


def test_until_a_real_condition_is_located():
    """y = exp(-t) crosses 1/4 at log 4."""
    run = fm.simulate(DECAY, jnp.ones(1), 9.0, until=lambda t, y, args: y[0] - 0.25, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(run.ts[-1], np.log(4), atol=1e-6)
    np.testing.assert_allclose(run.ys[-1], 0.25, atol=1e-6)
    assert run.result is fm.RESULTS.event_occurred
    assert run.result.is_okay
    assert run.end_time == run.ts[-1]


def test_until_a_boolean_condition_stops_after_its_step():
    run = fm.simulate(DECAY, jnp.ones(1), 9.0, until=lambda t, y, args: y[0] < 0.25)
    before = fm.simulate(DECAY, jnp.ones(1), 9.0)
    first = int(np.argmax(before.ys[:, 0] < 0.25))
    np.testing.assert_array_equal(run.ts, before.ts[: first + 1])


def test_until_must_return_a_scalar_truth_or_float():
    with pytest.raises(ValueError, match="`until` must return a boolean"):
        fm.simulate(DECAY, jnp.ones(2), 1.0, until=lambda t, y, args: y)


def test_observe_is_saved_like_states():
    run = fm.simulate(DECAY, jnp.ones(2), 1.0, observe=lambda t, y, args: {"norm": jnp.sqrt(jnp.sum(y**2)), "t": t})
    np.testing.assert_allclose(run.observed["norm"], np.sqrt(2) * np.exp(-run.ts), rtol=1e-5)
    np.testing.assert_array_equal(run.observed["t"], run.ts)


def test_observed_where_until_was_met():
    run = fm.simulate(
        DECAY, jnp.ones(1), 9.0, until=lambda t, y, args: y[0] - 0.25, observe=lambda t, y, args: y[0] ** 2
    )
    np.testing.assert_allclose(run.observed[-1], 0.0625, atol=1e-5)


def test_dense_output_is_the_solution_between_steps():
    run = fm.simulate(PENDULUM, jnp.asarray([1.0, 0.0]), 5.0, rtol=1e-9, atol=1e-11, dense=True)
    times = np.linspace(0, 5, 17)
    reference = scipy.integrate.solve_ivp(
        lambda t, y: [y[1], -np.sin(y[0])], (0, 5), [1.0, 0.0], t_eval=times, method="DOP853", rtol=1e-11, atol=1e-13
    )
    np.testing.assert_allclose(run(times), reference.y.T, atol=1e-7)
    np.testing.assert_allclose(run(2.5), run(np.asarray([2.5]))[0])
    with pytest.raises(ValueError, match="between 0 and 5"):
        run(5.1)
    with pytest.raises(ValueError, match="dense=True"):
        fm.simulate(PENDULUM, jnp.asarray([1.0, 0.0]), 5.0)(1.0)


def test_progress_changes_nothing_but_the_terminal(capsys):
    quiet = fm.simulate(toggle(), {"u": 1.0, "v": 8.0}, 20.0)
    shown = fm.simulate(toggle(), {"u": 1.0, "v": 8.0}, 20.0, progress=True)
    np.testing.assert_array_equal(quiet.ys["u"], shown.ys["u"])


def test_composes_with_jit_vmap_and_grad():
    flow, times = toggle(), jnp.linspace(0.0, 5.0, 6)
    starts = {"u": jnp.asarray([0.5, 1.0, 20.0]), "v": jnp.asarray([8.0, 3.0, 0.5])}
    single = fm.simulate(flow, {"u": 1.0, "v": 3.0}, ts=times)
    batched = jax.jit(jax.vmap(lambda y0: fm.simulate(flow, y0, ts=times)))(starts)
    np.testing.assert_allclose(batched.ys["u"][1], single.ys["u"], rtol=1e-9)
    np.testing.assert_allclose(batched.potential[1], single.potential, rtol=1e-9)
    np.testing.assert_allclose(batched.ledger[1], single.ledger, atol=1e-9)
    np.testing.assert_array_equal(batched.result, int(fm.RESULTS.successful))


def test_derivatives_with_respect_to_start_args_and_times():
    """y' = -a y: y(t) = y0 exp(-a t)."""
    flow = fm.VectorField(lambda t, y, args: -args * y)

    def end(y0, a, t):
        return fm.simulate(flow, jnp.stack([y0]), ts=jnp.stack([t]), args=a, rtol=1e-9, atol=1e-11).ys[-1, 0]

    y0, a, t = jnp.asarray(1.5), jnp.asarray(0.7), jnp.asarray(2.0)
    gradient = jax.grad(end, argnums=(0, 1, 2))(y0, a, t)
    exact = 1.5 * np.exp(-1.4)
    np.testing.assert_allclose(gradient, [exact / 1.5, -2 * exact, -0.7 * exact], rtol=1e-5)


def test_traced_runs_need_times_and_fail_softly():
    with pytest.raises(ValueError, match="`simulate` needs `ts`"):
        jax.jit(lambda y0: fm.simulate(DECAY, y0, 1.0).ys)(jnp.ones(2))
    blow_up = fm.VectorField(lambda t, y, args: y**2)
    codes = jax.vmap(lambda y0: fm.simulate(blow_up, y0, ts=jnp.asarray([0.0, 2.0])).result)(
        jnp.asarray([[0.1], [1.0]])
    )
    assert codes[0] == fm.RESULTS.successful
    assert codes[1] == fm.RESULTS.dt_min_reached


def test_args_reach_potential_metric_and_observer():
    flow = fm.GradientFlow(
        lambda y, args: args["k"] * jnp.sum(y**2) / 2, fm.DenseMetric(lambda y, args: args["m"] * jnp.eye(1))
    )
    observe = {"observe": lambda t, y, args: args["k"]}
    run = fm.simulate(flow, jnp.ones(1), 1.0, args={"k": jnp.asarray(3.0), "m": jnp.asarray(2.0)}, **observe)
    np.testing.assert_allclose(run.ys[-1], np.exp(-1.5), rtol=1e-5)
    assert run.observed[0] == 3.0


def test_absolute_tolerance_by_component():
    y0 = {"big": 1e6, "small": 1e-6}
    flow = fm.VectorField(lambda t, y, args: {"big": -y["big"], "small": -y["small"] + 1e-6 * jnp.sin(20 * t)})
    coarse = fm.simulate(flow, y0, 5.0, atol=1.0)
    fine = fm.simulate(flow, y0, 5.0, atol={"big": 1.0, "small": 1e-12})
    assert fine.stats["accepted"] > 2 * coarse.stats["accepted"]
    with pytest.raises(ValueError, match="`atol` must be a number or a tree like the state"):
        fm.simulate(flow, y0, 5.0, atol={"big": 1.0})


def test_controllers_see_the_state_as_a_tree():
    def norm_of_slow_part(error):
        return jnp.sqrt(jnp.mean(jnp.square(error["slow"])))

    controller = diffrax.PIDController(rtol=1e-6, atol=1e-9, norm=norm_of_slow_part)
    flow = fm.VectorField(lambda t, y, args: {"slow": -y["slow"], "fast": jnp.cos(30 * t)})
    run = fm.simulate(flow, {"slow": 1.0, "fast": 0.0}, 5.0, controller=controller)
    both = fm.simulate(flow, {"slow": 1.0, "fast": 0.0}, 5.0)
    assert run.stats["accepted"] < both.stats["accepted"] / 2


def test_fixed_steps():
    run = fm.simulate(DECAY, jnp.ones(1), 1.0, solver=diffrax.Euler(), dt0=0.25)
    np.testing.assert_allclose(run.ys[:, 0], 0.75 ** np.arange(5))
    with pytest.raises(ValueError, match="`dt0` must be given for Euler"):
        fm.simulate(DECAY, jnp.ones(1), 1.0, solver=diffrax.Euler())


def test_stiff_default_beats_the_stock_chord():
    """Kvaerno5 with Newton takes a fraction of the steps of diffrax's own on a stiff nonlinear field."""
    flow = fm.VectorField(lambda t, y, args: -1e3 * (y - jnp.cos(t)) * (1 + 0.5 * y**2))
    newton = fm.simulate(flow, jnp.asarray([1.0, 2.0]), 5.0, solver="stiff")
    chord = fm.simulate(flow, jnp.asarray([1.0, 2.0]), 5.0, solver=diffrax.Kvaerno5())
    np.testing.assert_allclose(newton.ys[-1], chord.ys[-1], atol=1e-5)
    assert 5 * sum(newton.stats.values()) < sum(chord.stats.values())


VERY_STIFF = fm.VectorField(lambda t, y, rate: -rate * (y - jnp.cos(t)))


@pytest.mark.parametrize("rate", [1e3, 1e6, 1e8])
def test_the_stiff_solver_follows_very_stiff_fields(rate):
    run = fm.simulate(VERY_STIFF, jnp.asarray([1.0, 2.0]), 20.0, solver="stiff", args=rate)
    np.testing.assert_allclose(run.ys[-1], (rate**2 * np.cos(20.0) + rate * np.sin(20.0)) / (rate**2 + 1), atol=1e-6)
    assert sum(run.stats.values()) < 1000


def test_numbers_do_not_depend_on_who_else_compiled():
    """The same call twice, and with other tolerances in between: the same run to the bit."""
    potential, mass, y0 = STATE_DEPENDENT["arm"]
    flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
    first = fm.simulate(flow, jnp.asarray(y0), 1.0)
    fm.simulate(flow, jnp.asarray(y0), 1.0, rtol=1e-3)
    again = fm.simulate(flow, jnp.asarray(y0), 1.0)
    np.testing.assert_array_equal(first.ys, again.ys)


def test_a_run_compiles_no_callback():
    """A callback would make the compilation cache useless, and one failing member would end a batch."""
    from flowmod.simulate._leg import Start, run_leg
    from flowmod.simulate._setup import Method, prepare

    method = Method(None, None, None, None, None, 1000, None, None, None)
    setup = prepare(toggle(), "y0", {"u": 1.0, "v": 8.0}, (0.0, 1.0, None), None, method)
    start = Start(setup.t0, setup.packing.pack(setup.leaves), None)
    jaxpr = jax.make_jaxpr(lambda vector: run_leg(*setup.operands(start._replace(vector=vector), None, 10)).report)
    assert "callback" not in str(jaxpr(start.vector))


@pytest.mark.parametrize("solver", [None, "stiff", diffrax.Dopri8()])
def test_calls_that_differ_in_numbers_only_share_a_program(solver):
    """Other starts, times, tolerances, parameters and `max_steps` compile nothing."""
    import importlib

    programs = importlib.import_module("flowmod.simulate.simulate")._run_leg.program._cache_size
    fm.simulate(fm.bio.toggle_switch(4.0, 4.0), {"u": 1.0, "v": 3.0}, 5.0, solver=solver)
    before = programs()
    fm.simulate(fm.bio.toggle_switch(3.0, 5.0), {"u": 2.0, "v": 1.0}, 4.0, solver=solver, rtol=1e-7, max_steps=10_000)
    assert programs() == before
    fm.simulate(fm.bio.toggle_switch(3.0, 5.0), {"u": 2.0, "v": 1.0}, ts=[0.0, 1.0], solver=solver)
    assert programs() == before + 1
