"""The numbers that the tests hold, printed: how far each is from its independent reference."""

import json
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate

import flowmod as fm
from benchmarks.timing import Row
from tests.zoo import STATE_DEPENDENT, arm_mass, arm_potential, toggle

_DATA = Path(__file__).parents[1] / "tests" / "data"
_TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def _row(what: str, error: float, limit: float) -> Row:
    return Row(what, f"{error:.1e}", f"<= {limit:.0e}", error <= limit)


def _oracle(name: str) -> dict:
    return json.loads((_DATA / f"{name}.json").read_text())


def _worst(a, b) -> float:
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b))))


def _matrix_exponential() -> Row:
    o = _oracle("o07_quadratic_flow")
    H, M, x0 = (jnp.asarray(o["inputs"][name]) for name in ("H", "M", "x0"))
    flow = fm.GradientFlow(lambda y, args: 0.5 * y @ H @ y, fm.ConstantMetric(M))
    run = fm.simulate(flow, x0, ts=np.asarray(o["inputs"]["t"]), rtol=1e-10, atol=1e-12)
    return _row("x' = -M^-1 H x against the matrix exponential, rtol 1e-10", _worst(run.ys, o["results"]["x"]), 1e-9)


def _against_radau(solver, name: str) -> Row:
    worst = 0.0
    for potential, mass, y0 in STATE_DEPENDENT.values():
        gradient = jax.jit(jax.grad(lambda y, f=potential: f(y, None)))
        matrix = jax.jit(lambda y, M=mass: M(y, None))
        reference = scipy.integrate.solve_ivp(
            lambda t, y, g=gradient, M=matrix: -np.linalg.solve(np.asarray(M(y)), np.asarray(g(y))),
            (0, 2),
            y0,
            method="Radau",
            rtol=1e-10,
            atol=1e-12,
        )
        flow = fm.GradientFlow(potential, fm.DenseMetric(mass))
        run = fm.simulate(flow, jnp.asarray(y0), 2.0, solver=solver, **_TIGHT)
        worst = max(worst, _worst(run.ys[-1], reference.y[:, -1]))
    return _row(f"{name} against SciPy's Radau, three dense state-dependent metrics", worst, 1e-7)


def _ledgers() -> list[Row]:
    potential, mass, y0 = STATE_DEPENDENT["generic"]
    moving = fm.MovingMetric(lambda t, y, args: (1 + t**2) * mass(y, None))
    place = (jnp.asarray([1.0, -0.6]), jnp.asarray([0.4, 0.9]))
    cases = {
        "Euclidean metric": (fm.GradientFlow(potential), jnp.asarray(y0)),
        "dense state-dependent metric": (fm.GradientFlow(potential, fm.DenseMetric(mass)), jnp.asarray(y0)),
        "moving metric": (fm.GradientFlow(potential, moving), jnp.asarray(y0)),
        "mechanical energy": (fm.InertialFlow(arm_potential, fm.DenseMetric(arm_mass), 0.8), place),
    }
    return [
        _row(f"energy ledger, {name}, rtol 1e-9", _worst(fm.simulate(flow, start, 2.0, **_TIGHT).ledger, 0), 1e-7)
        for name, (flow, start) in cases.items()
    ]


def _toggle() -> list[Row]:
    flow, found = toggle(), toggle().equilibria()
    expected = [(155.7634077, 0.0995130), (0.3324186, 11.7080324), (1.3165461, 6.7341635)]
    states = [(point.state["u"], point.state["v"]) for point in found]
    right, left, saddle = (point.potential for point in found)
    barriers = _worst([saddle - left, saddle - right], [0.310417, 125.86313])
    run = fm.simulate(flow, {"u": 1.0, "v": 8.0}, 20.0, **_TIGHT)
    sides = [run.dissipated[-1], run.potential[0] - run.potential[-1]]
    form = 0.0
    for u, v in np.random.default_rng(0).uniform([0.05, 0.05], [150, 15], (200, 2)):
        y = {"u": jnp.asarray(u), "v": jnp.asarray(v)}
        plain, vector = flow.vector_field(0.0, y), fm.steepest_descent(flow.potential, flow.metric, y)[2]
        form = max(form, *(abs(float(plain[k] - vector[k])) for k in y))
    return [
        _row("toggle switch BIOMD507, equilibria", _worst(states, expected), 1e-6),
        _row("toggle switch BIOMD507, barriers", barriers, 1e-6),
        _row("toggle switch, both sides of the ledger against 0.2590878", _worst(sides, 0.2590878), 5e-8),
        _row("toggle switch, right-hand side against -M^-1 grad V at 200 states", form, 1e-9),
    ]


def _rates() -> list[Row]:
    from tests.contraction.test_rate import METRIC, SYSTEM, cholesky, riemannian_hessian_rate, rotating, theta

    rows = _oracle("o03_contraction_state_metric")["results"]["trajectory"]
    points = [(jnp.asarray(row["x"]), row["t"], row["rate"]) for row in rows]
    metric = max(abs(float(fm.contraction_rate(SYSTEM, x, t, metric=METRIC)) - rate) for x, t, rate in points)
    factors = max(
        abs(float(fm.contraction_rate(SYSTEM, x, t, factor=factor)) - rate)
        for x, t, rate in points
        for factor in (theta, rotating, cholesky)
    )
    flows = [(fm.GradientFlow(f, fm.DenseMetric(M)), f, M, jnp.asarray(y)) for f, M, y in STATE_DEPENDENT.values()]
    hessian = max(
        abs(float(fm.contraction_rate(flow, y)) - riemannian_hessian_rate(f, M, y)) for flow, f, M, y in flows
    )
    return [
        _row("rate in a state- and time-dependent metric against sympy", metric, 1e-9),
        _row("the same rate by three other factors", factors, 1e-9),
        _row("rate of gradient flows against the Riemannian Hessian", hessian, 1e-10),
    ]


def measure() -> list[Row]:
    jax.config.update("jax_enable_x64", True)
    solvers = {"Tsit5": diffrax.Tsit5(), "Dopri8": diffrax.Dopri8(), "Kvaerno5": "stiff"}
    compared = [_against_radau(solver, name) for name, solver in solvers.items()]
    return [_matrix_exponential(), *compared, *_ledgers(), *_toggle(), *_rates()]
