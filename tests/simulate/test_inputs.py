"""States, numbers and callers of unusual kinds: each is taken as it is meant, or refused in one sentence."""

import importlib

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import flowmod as fm
from tests.zoo import toggle

DECAY = fm.VectorField(lambda t, y, args: jax.tree.map(jnp.negative, y))
BOWL = fm.GradientFlow(lambda y, args: 0.5 * jnp.sum(y**2))


def programs():
    return importlib.import_module("flowmod.simulate.simulate")._run_leg.program._cache_size()


@pytest.mark.parametrize(
    "state",
    [
        {"potential": jnp.asarray(1.0), "energy": jnp.asarray(3.0), "time": jnp.asarray(2.0)},
        {"a/b": jnp.ones(2), "a_b": jnp.zeros(2)},
        {"a.b": jnp.ones(1), "a": {"b": jnp.zeros(1)}},
    ],
    ids=["reserved", "slash", "dots"],
)
def test_names_that_collide_are_kept_apart_in_files_and_tables(state, tmp_path):
    flow = fm.VectorField(DECAY.fn, potential=lambda y, args: sum(jnp.sum(x**2) for x in jax.tree.leaves(y)) / 2)
    run = fm.simulate(flow, state, 1.0)
    back = fm.load(run.save(tmp_path / "run.nc"))
    assert jax.tree.structure(back.ys) == jax.tree.structure(run.ys)
    for here, there in zip(jax.tree.leaves(run.ys), jax.tree.leaves(back.ys), strict=True):
        np.testing.assert_array_equal(here, there)
    np.testing.assert_array_equal(back.potential, run.potential)
    assert len(set(run.to_dataframe().columns)) == len(run.to_dataframe().columns)


def test_numpy_numbers_of_any_kind_reach_the_flow_unchanged():
    odd = fm.VectorField(lambda t, y, args: y * 0 + (args % 2).astype(y.dtype))
    np.testing.assert_allclose(fm.simulate(odd, jnp.zeros(1), 1.0, args=np.int64(2**60 + 1)).ys[-1], 1.0)


def test_true_and_one_are_different_programs():
    flow = fm.VectorField(lambda t, y, args: y * 0 + (1.0 if isinstance(args, bool) else 2.0))
    ends = [fm.simulate(flow, jnp.zeros(1), 1.0, args=args).ys[-1, 0] for args in (True, 1)]
    np.testing.assert_allclose(ends, [1.0, 2.0])


def test_another_python_float_is_no_other_program():
    flow = fm.VectorField(lambda t, y, args: -args["k"] * y)
    fm.simulate(flow, jnp.ones(1), 1.0, args={"k": 1.1})
    before = programs()
    run = fm.simulate(flow, jnp.ones(1), 1.0, args={"k": 1.2})
    assert programs() == before
    np.testing.assert_allclose(run.ys[-1], np.exp(-1.2), rtol=1e-5)
    single = fm.simulate(flow, jnp.ones(1, jnp.float32), 1.0, args={"k": 1.2})
    assert single.ys.dtype == np.float32


def test_python_floats_are_a_state_everywhere():
    flow = toggle()
    y = {"u": 1.0, "v": 2.0}
    as_arrays = jax.tree.map(jnp.asarray, y)
    np.testing.assert_allclose(fm.contraction_rate(flow, y), fm.contraction_rate(flow, as_arrays))
    np.testing.assert_allclose(fm.generalized_jacobian(flow, y), fm.generalized_jacobian(flow, as_arrays))
    assert fm.check_metric(flow.metric, y).ok
    with pytest.raises(ValueError, match="`y` must hold float arrays, got int at 'u'"):
        fm.contraction_rate(flow, {"u": 1, "v": 2})


def test_times_are_compared_in_the_precision_of_the_state():
    with pytest.raises(ValueError, match=r"`t1` must be a finite time after `t0`.*float32"):
        fm.simulate(DECAY, jnp.ones(1, jnp.float32), t0=1e6, t1=1e6 + 0.01)
    run = fm.simulate(DECAY, jnp.ones(1, jnp.float32), 0.1, ts=np.linspace(0, 0.1, 11, dtype=np.float32))
    assert len(run) == 11


@pytest.mark.parametrize("matrix", [[[2.0, 1.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, -1.0]]])
def test_a_tag_is_not_believed(matrix):
    operator = lx.MatrixLinearOperator(jnp.asarray(matrix), lx.positive_semidefinite_tag)
    with pytest.raises(ValueError, match=r"symmetric|positive definite"):
        fm.ConstantMetric(operator)
    metric = fm.DenseMetric(lambda y, args: jnp.asarray(matrix))
    assert np.isnan(fm.contraction_rate(BOWL, jnp.ones(2), metric=metric))


def test_a_rate_where_the_potential_is_not_finite_is_nan():
    flow = fm.GradientFlow(lambda y, args: jnp.sum(jnp.log(y)))
    assert np.isnan(fm.contraction_rate(flow, -jnp.ones(2)))
    assert np.isnan(fm.generalized_jacobian(flow, -jnp.ones(2))).all()


@pytest.mark.parametrize("solver", [None, "stiff"])
def test_a_tolerance_for_each_number_in_every_kind_of_run(solver):
    atol, y0 = {"u": 1e-9, "v": 1e-8}, {"u": 1.0, "v": 8.0}
    run = fm.simulate(toggle(), y0, 5.0, solver=solver, atol=atol)
    starts = jax.tree.map(lambda leaf: jnp.full(2, leaf), y0)
    members = fm.ensemble(toggle(), starts, 5.0, solver=solver, atol=atol)
    np.testing.assert_allclose(members.ends["u"], run.ys["u"][-1], rtol=1e-9)
    with pytest.raises(ValueError, match="`atol` must have the state's shapes"):
        fm.simulate(DECAY, jnp.ones(2), 1.0, atol=jnp.ones(3))


def test_mixed_precision_in_a_matrix_metric():
    y0 = {"u": jnp.asarray(1.0, jnp.float32), "v": jnp.asarray(8.0)}
    flow = fm.GradientFlow(
        lambda y, args: y["u"].astype(float) ** 2 + y["v"] ** 2, fm.ConstantMetric([[2.0, 1.0], [1.0, 2.0]])
    )
    run = fm.simulate(flow, y0, 2.0)
    assert run.ys["u"].dtype == np.float32
    assert run.ys["v"].dtype == np.float64
    assert np.abs(run.ledger).max() < 1e-3


def test_first_steps_are_checked_and_compile_no_callback():
    run = fm.simulate(DECAY, jnp.ones(1), 1.0, dt0=0.125)
    assert run.ts[1] == 0.125
    for dt0 in (-1.0, 0.0, float("nan"), "a"):
        with pytest.raises(ValueError, match="`dt0` must be a"):
            fm.simulate(DECAY, jnp.ones(1), 1.0, dt0=dt0)
    from flowmod.simulate._leg import Start, run_leg
    from flowmod.simulate._setup import Method, prepare

    method = Method(None, None, None, None, None, 1000, None, 0.1, None)
    setup = prepare(toggle(), "y0", {"u": 1.0, "v": 8.0}, (0.0, 1.0, None), None, method)
    start = Start(setup.t0, setup.packing.pack(setup.leaves), None)
    jaxpr = jax.make_jaxpr(lambda vector: run_leg(*setup.operands(start._replace(vector=vector), None, 10)).report)
    assert "callback" not in str(jaxpr(start.vector))


def test_an_ensemble_of_modules_is_a_sequence():
    keys = jax.random.split(jax.random.key(0), 3)
    nets = eqx.filter_vmap(lambda key: eqx.nn.MLP(2, 1, 3, 1, key=key))(keys)
    flow = fm.GradientFlow(lambda net, args: jnp.sum(jax.vmap(net)(jnp.ones((1, 2))) ** 2))
    members = fm.ensemble(flow, nets, 1.0)
    assert members[1].ys.layers[0].weight.shape == (101, 3, 2)
    assert np.abs(members[2].ledger).max() < 1e-4


def test_a_run_without_saved_times_prints_and_measures():
    run = fm.simulate(BOWL, jnp.ones(2), 10.0, ts=[5.0], until=lambda t, y, args: t > 1)
    assert len(run) == 0
    assert run.potential.shape == (0,)
    assert "0 saved" in str(run)


def test_a_run_out_of_jit_prints_and_saves(tmp_path):
    run = jax.jit(lambda y: fm.simulate(BOWL, y, ts=jnp.asarray([0.0, 1.0])))(jnp.ones(2))
    assert "reached its end time" in str(run)
    assert fm.load(run.save(tmp_path / "run.nc")).result is fm.RESULTS.successful


def test_a_flow_may_close_over_what_is_differentiated():
    def end(k):
        flow = fm.GradientFlow(lambda y, args: 0.5 * k * jnp.sum(y**2))
        return fm.simulate(flow, jnp.ones(1), ts=jnp.asarray([0.0, 1.0]), rtol=1e-8).ys[-1, 0]

    np.testing.assert_allclose(jax.grad(end)(1.5), -np.exp(-1.5), rtol=1e-5)
    with pytest.raises(ValueError, match="`simulate` needs `ts`"):
        jax.grad(lambda k: fm.simulate(fm.GradientFlow(lambda y, args: k * jnp.sum(y)), jnp.ones(1), 1.0).ys[-1, 0])(
            1.0
        )
    with pytest.raises(ValueError, match="outside of JAX transformations"):
        jax.jit(lambda y0s: fm.ensemble(BOWL, y0s, 1.0).ys)(jnp.ones((2, 2)))


REFUSED = {
    "backsolve": (lambda: fm.simulate(BOWL, jnp.ones(2), 1.0, adjoint=diffrax.BacksolveAdjoint()), "`adjoint` must"),
    "adjoint": (lambda: fm.simulate(BOWL, jnp.ones(2), 1.0, adjoint=3), "`adjoint` must be a diffrax adjoint"),
    "controller": (lambda: fm.simulate(BOWL, jnp.ones(2), 1.0, controller=3), "`controller` must be a diffrax"),
    "observe": (lambda: fm.simulate(BOWL, jnp.ones(2), 1.0, observe=lambda y: y), r"`observe` must be a function of"),
    "until": (lambda: fm.simulate(BOWL, jnp.ones(2), 1.0, until=3), r"`until` must be a function of \(t, y, args\)"),
    "empty": (lambda: fm.simulate(BOWL, np.ones((0,)), 1.0), "at least one float array with an entry"),
    "rtol": (lambda: fm.simulate(BOWL, jnp.ones(2), 1.0, rtol=float("inf")), "`rtol` must be at least"),
    "norm": (lambda: fm.contraction_rate(BOWL, jnp.ones(2), norm=3), "`norm` must be 1, 2"),
    "method": (lambda: fm.contraction_rate(BOWL, jnp.ones(2), method="guess"), "`method` must be"),
    "rate of nothing": (lambda: fm.contraction_rate(None, jnp.ones(2)), "`flow` must be a flow"),
    "rate in a matrix": (lambda: fm.contraction_rate(BOWL, jnp.ones(2), metric=np.eye(2)), "`metric` must be a metric"),
    "checked matrix": (lambda: fm.check_metric(np.eye(2), jnp.ones(2)), "`metric` must be a metric"),
    "no matrix": (lambda: fm.ConstantMetric("a"), "`matrix` must be a matrix"),
    "complex matrix": (lambda: fm.ConstantMetric(np.eye(2) * 1j), "`matrix` must be a real matrix"),
    "box": (lambda: fm.equilibria(BOWL, jnp.ones(2)), r"`box` must be a pair \(lower, upper\)"),
    "starts": (lambda: fm.equilibria(BOWL, (jnp.zeros(2), jnp.ones(2)), starts=1.5), "whole number"),
    "toggle": (lambda: fm.bio.toggle_switch(a1="a"), "`a1` must be a number"),
    "damping": (lambda: fm.InertialFlow(BOWL.potential, damping=float("nan")), "`damping` must be finite"),
    "damping word": (lambda: fm.InertialFlow(BOWL.potential, damping="a"), "`damping` must be a number"),
    "velocity": (
        lambda: fm.simulate(fm.InertialFlow(BOWL.potential), (jnp.ones(2), jnp.ones(3)), 1.0),
        "must be a tree like its position, with its shapes",
    ),
    "load": (lambda: fm.load(3), "`path` must be the name of a file"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_meant_otherwise_is_refused(name):
    call, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        call()


def test_rates_name_the_norm_and_method_that_they_are():
    assert fm.contraction_rate(BOWL, jnp.ones(2), norm=2, method="dense") == fm.contraction_rate(BOWL, jnp.ones(2))


@pytest.mark.parametrize("power", [2, 3])
def test_folds_are_degenerate(power):
    found = fm.equilibria(fm.VectorField(lambda t, y, args: -(y**power)), (-jnp.ones(1), jnp.ones(1)))
    assert {point.stability for point in found} == {"degenerate"}


def test_like_of_another_shape_is_refused(tmp_path):
    run = fm.simulate(DECAY, {"w": jnp.ones((2, 3))}, 1.0)
    path = run.save(tmp_path / "run.nc")
    assert fm.load(path, like={"w": jnp.zeros((2, 3))}).ys["w"].shape[1:] == (2, 3)
    with pytest.raises(ValueError, match=r"`like` has shape \(2, 4\) at 'w', but the file \(2, 3\)"):
        fm.load(path, like={"w": jnp.zeros((2, 4))})


def test_whole_numbers_are_floats_in_what_functions_return():
    y = jnp.ones(2)
    np.testing.assert_allclose(fm.DenseMetric(lambda y, args: np.eye(2, dtype=int)).sharp(y, y), y)
    np.testing.assert_allclose(fm.DiagonalMetric(lambda y, args: np.full(2, 2)).sharp(y, y), y / 2)
    run = fm.simulate(fm.VectorField(lambda t, y, args: jnp.ones(2, int)), y, 1.0)
    np.testing.assert_allclose(run.ys[-1], 2.0)


def test_another_tolerance_or_limit_is_no_other_program():
    flow, starts = toggle(), {"u": jnp.ones(2), "v": jnp.full(2, 8.0)}
    fm.simulate(flow, {"u": 1.0, "v": 8.0}, 5.0, until=fm.AtEquilibrium(flow, 1e-3))
    members = importlib.import_module("flowmod.simulate.ensemble")._run_members.program._cache_size
    fm.ensemble(flow, starts, 5.0, max_steps=900)
    before = programs(), members()
    fm.simulate(flow, {"u": 1.0, "v": 8.0}, 5.0, until=fm.AtEquilibrium(flow, 1e-4))
    fm.ensemble(flow, starts, 5.0, max_steps=1000)
    assert (programs(), members()) == before
    few = fm.ensemble(flow, starts, 5.0, max_steps=3)
    assert few[0].result is fm.RESULTS.max_steps_reached
    assert sum(few[0].stats.values()) == 3


def test_equilibria_are_found_outside_of_transformations():
    with pytest.raises(ValueError, match="outside of JAX transformations"):
        jax.jit(lambda top: fm.equilibria(BOWL, (jnp.zeros(2), top)).starts)(jnp.ones(2))
