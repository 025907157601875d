"""Ensembles: each member is the run it would be alone, and a failure stays with its member."""

import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from tests.zoo import exponential_mass, toggle

STARTS = {"u": np.asarray([0.5, 1.0, 20.0, 3.0]), "v": np.asarray([8.0, 3.0, 0.5, 7.0])}
TIMES = np.linspace(0, 10, 11)


def test_members_are_the_single_runs():
    flow = toggle()
    members = fm.ensemble(flow, STARTS, ts=TIMES)
    assert len(members) == 4
    for index, member in enumerate(members):
        alone = fm.simulate(flow, jax.tree.map(lambda leaf, i=index: jnp.asarray(leaf[i]), STARTS), ts=TIMES)
        np.testing.assert_allclose(member.ys["u"], alone.ys["u"], rtol=1e-10)
        np.testing.assert_allclose(member.ledger, alone.ledger, atol=1e-10)
        np.testing.assert_allclose(member.potential, members.potential[index], rtol=1e-12)
        assert member.stats == alone.stats
        assert member.result is alone.result
        np.testing.assert_allclose(members.ends["u"][index], alone.ys["u"][-1])
    np.testing.assert_allclose(members.ledger[2], members[2].ledger)
    assert np.abs(members.ledger).max() < 1e-4


def test_default_times_are_even():
    members = fm.ensemble(toggle(), STARTS, 5.0, t0=1.0)
    np.testing.assert_allclose(members.ts, np.linspace(1, 5, 101))


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_any_number_of_members(count):
    flow = fm.VectorField(lambda t, y, args: -y)
    members = fm.ensemble(flow, jnp.linspace(1.0, 2.0, count)[:, None], ts=[0.0, 1.0])
    assert len(members) == count
    np.testing.assert_allclose(members.ys[:, 1, 0], np.linspace(1, 2, count) * np.exp(-1), rtol=1e-5)


def test_a_member_that_fails_does_not_stop_the_others():
    flow = fm.VectorField(lambda t, y, args: y**2)
    members = fm.ensemble(flow, jnp.asarray([[0.1], [2.0], [-1.0]]), ts=[0.0, 0.25, 1.0])
    np.testing.assert_array_equal(members.failed, [1])
    np.testing.assert_allclose(members.ys[[0, 2], -1, 0], [0.1 / 0.9, -0.5], rtol=1e-5)
    np.testing.assert_allclose(members.end_times, [1.0, 0.5, 1.0], atol=1e-5)
    failed = members[1]
    assert failed.result is fm.RESULTS.dt_min_reached
    assert "flow is finite there" in failed.reason
    np.testing.assert_allclose(failed.ys[:, 0], [2.0, 4.0], rtol=1e-5)
    assert "2  The run reached its end time" in str(members)
    with pytest.raises(IndexError):
        members[3]


def test_the_cause_of_a_failed_member_is_found():
    flow = fm.GradientFlow(lambda y, args: jnp.log(y[0]))
    members = fm.ensemble(flow, jnp.asarray([[1.0], [4.0]]), 1.0)
    assert members[0].result is fm.RESULTS.nonfinite_potential
    assert members[1].result is fm.RESULTS.successful
    assert np.isnan(members.ledger[0]).any()


def test_observe_and_until_act_by_member():
    flow = fm.VectorField(lambda t, y, args: -args * y)
    members = fm.ensemble(
        flow,
        jnp.asarray([[1.0], [4.0]]),
        ts=np.linspace(0, 3, 31),
        args=jnp.asarray(1.0),
        observe=lambda t, y, args: y[0] ** 2,
        until=lambda t, y, args: y[0] - 0.5,
        rtol=1e-8,
    )
    np.testing.assert_allclose(members.end_times, np.log([2.0, 8.0]), atol=1e-6)
    np.testing.assert_allclose(members.ends[:, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(members[1].observed, members[1].ys[:, 0] ** 2)


def test_to_xarray_labels_members():
    data = fm.ensemble(toggle(), STARTS, ts=TIMES).to_xarray()
    assert data["u"].dims == ("member", "time")
    assert dict(data.sizes) == {"member": 4, "time": 11}
    assert data["potential"].dims == ("member", "time")
    assert list(data["result"].values) == ["successful"] * 4


def _python(script, *, devices=1, timeout=120):
    program = f"import os\nos.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count={devices}'\n"
    program += textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.slow
def test_members_spread_over_devices():
    """Two host devices give what one gives, to the bit."""
    script = """
        import jax
        jax.config.update("jax_enable_x64", True)
        import jax.numpy as jnp, numpy as np, flowmod as fm
        flow = fm.bio.toggle_switch()
        y0s = {"u": jnp.linspace(0.1, 3.0, 33), "v": jnp.linspace(2.5, 0.2, 33)}
        mesh = jax.make_mesh((2,), ("members",), axis_types=(jax.sharding.AxisType.Auto,))
        one, two = fm.ensemble(flow, y0s, 5.0), fm.ensemble(flow, y0s, 5.0, mesh=mesh)
        assert len(jax.devices()) == 2
        print(len(two), np.array_equal(one.ys["u"], two.ys["u"]))
    """
    done = _python(script, devices=2)
    assert done.stdout.split() == ["33", "True"], done.stderr


@pytest.mark.slow
def test_an_ensemble_with_a_factorising_metric_never_hangs():
    """A thousand calls; XLA can hang for ever on two cores if independent batched factorisations meet."""
    script = """
        import jax
        jax.config.update("jax_enable_x64", True)
        import sys; sys.path.insert(0, ".")
        import jax.numpy as jnp, numpy as np, flowmod as fm
        from tests.zoo import bowl, exponential_mass
        flow = fm.GradientFlow(bowl, fm.DenseMetric(exponential_mass))
        y0s = jax.random.normal(jax.random.key(0), (100, 3))
        for _ in range(1000):
            members = fm.ensemble(flow, y0s, ts=np.asarray([0.0, 0.2]), rtol=1e-3)
        print(len(members.failed))
    """
    started = time.monotonic()
    done = _python(script, timeout=300)
    assert done.stdout.split() == ["0"], done.stderr
    assert time.monotonic() - started < 300


def test_a_dense_metric_in_an_ensemble():
    flow = fm.GradientFlow(lambda y, args: jnp.sum(y**2), fm.DenseMetric(exponential_mass))
    y0s = jnp.asarray([[0.9, -1.1, 0.6], [0.1, 0.2, 0.3]])
    members = fm.ensemble(flow, y0s, ts=[0.0, 0.5])
    alone = fm.simulate(flow, y0s[1], ts=[0.0, 0.5])
    np.testing.assert_allclose(members.ys[1], alone.ys, rtol=1e-9)
