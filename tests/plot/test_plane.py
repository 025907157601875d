"""What all pictures have in common: axes given or made, boxes that fit or are refused, nothing global changed."""

import subprocess
import sys

import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
import xarray as xr

import flowmod as fm
from tests.zoo import toggle

BOX = (jnp.array([-1.0, -2.0]), jnp.array([2.0, 1.0]))
FLOW = fm.GradientFlow(lambda y, args: jnp.sum(y**2) + y[0] ** 3 / 3)
RUN = fm.simulate(FLOW, jnp.array([1.0, 0.5]), t1=2.0)

OVER_A_BOX = {
    "landscape": lambda **kwargs: fm.plot.landscape(FLOW, kwargs.pop("box", BOX), RUN, **kwargs),
    "phase_portrait": lambda **kwargs: fm.plot.phase_portrait(FLOW, kwargs.pop("box", BOX), RUN, **kwargs),
    "rate_map": lambda **kwargs: fm.plot.rate_map(FLOW, kwargs.pop("box", BOX), **kwargs),
}
AGAINST_TIME = {
    "rate": lambda **kwargs: fm.plot.rate(RUN, fm.contraction_rate(FLOW, RUN), **kwargs),
    "ledger": lambda **kwargs: fm.plot.ledger(RUN, **kwargs),
    "states": lambda **kwargs: fm.plot.states(RUN, **kwargs),
}
OBSERVED = fm.simulate(FLOW, jnp.array([1.0, 0.5]), t1=2.0, observe=lambda t, y, args: {"height": y[1]})
COMPARED = fm.compare(FLOW, {"sgd": optax.sgd}, jnp.array([1.0, 0.5]), jnp.array([0.1, 0.3]), 1.0)
OF_TRAININGS = {
    "potentials": lambda **kwargs: fm.plot.potentials({"run": RUN}, **kwargs),
    "observed": lambda **kwargs: fm.plot.observed({"run": OBSERVED}, "height", **kwargs),
    "spectrum": lambda **kwargs: fm.plot.spectrum([0.0, 1.0, 2.0], [-9.0, -0.1, 1.0], [50.0, 20.0, 9.0], **kwargs),
    "step_limits": lambda **kwargs: fm.plot.step_limits([0.0, 1.0, 2.0], [0.1, 0.3, 0.2], step_sizes=0.2, **kwargs),
    "layers": lambda **kwargs: fm.plot.layers([0.0, 1.0], {"first": [1.0, 2.0]}, label="norm", **kwargs),
    "twins": lambda **kwargs: fm.plot.twins([0.0, 1.0], [1.0, 0.3], 1.0, **kwargs),
    "comparison": lambda **kwargs: fm.plot.comparison(COMPARED, **kwargs),
}
CHANGES = np.ones((2, 1, 1))
LADDER = fm.StabilityLadder(
    np.array([10, 20]), CHANGES, None, CHANGES[:, 0], CHANGES[:, 0], 0, 0, "replace-one", 1.0, None
)
OF_MODULES = {
    "rate_band": lambda **kwargs: fm.plot.rate_band(fm.contraction_spectrum(FLOW, RUN), **kwargs),
    "module_graph": lambda **kwargs: fm.plot.module_graph([1.0, 2.0], [[0.0, 0.3], [0.2, 0.0]], **kwargs),
    "stability": lambda **kwargs: fm.plot.stability(LADDER, **kwargs),
}
FATES = np.array([["converged", "periodic"], ["irregular", "diverged"]])
SETTLED = xr.Dataset(
    {
        "fate": (("step_size", "momentum"), FATES),
        "growth": (("step_size", "momentum"), np.ones((2, 2))),
        "predicted_limit": ("momentum", [0.2, 0.4]),
        "observed": (("step_size", "iterate"), np.array([[1.0, 1.0, 1.0], [0.5, 2.0, 1.5]])),
    },
    coords={"step_size": [0.1, 0.3], "momentum": [0.0, 0.9]},
)
BANDS = ("optimizer", "quantile", "time"), np.array([[[1.0, 0.5], [1.2, 0.9]]])
RUNS = ("optimizer", "seed", "time"), BANDS[1]
SCATTERED = xr.Dataset(
    {"loss": RUNS, "loss_band": BANDS, "distance_band": BANDS, "flow_loss": ("time", [1.0, 0.4])},
    coords={"optimizer": ["sgd"], "quantile": [0.1, 0.9], "flow_time": ("time", [0.0, 1.0])},
)
OF_OPTIMIZERS = {
    "stability_map": lambda **kwargs: fm.plot.stability_map(SETTLED, **kwargs),
    "bifurcation": lambda **kwargs: fm.plot.bifurcation(SETTLED.isel(momentum=0), **kwargs),
    "fates": lambda **kwargs: fm.plot.fates(COMPARED, **kwargs),
    "seeds": lambda **kwargs: fm.plot.seeds(SCATTERED, **kwargs),
}
ALL = OVER_A_BOX | AGAINST_TIME | OF_TRAININGS | OF_MODULES | OF_OPTIMIZERS


def test_every_public_function_is_here():
    # The figure of the edge of stability has three axes, and tests of its own.
    assert set(fm.plot.__all__) == {*ALL, "edge_of_stability"}


@pytest.mark.parametrize("name", ALL)
def test_given_axes_are_used_and_no_figure_is_made(name):
    figure, (left, right) = plt.subplots(1, 2)
    plt.sca(right)
    assert ALL[name](ax=left) is left
    assert left.has_data()
    assert not right.has_data()
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is right or name in ("ledger", "spectrum")


@pytest.mark.parametrize("name", ALL)
def test_axes_outside_of_pyplot_will_do(name):
    """A figure of a program with a window of its own is unknown to pyplot, and must stay so."""
    ax = matplotlib.figure.Figure().add_subplot()
    assert ALL[name](ax=ax) is ax
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", ALL)
def test_without_axes_a_figure_of_one_column_is_made(name):
    before = dict(matplotlib.rcParams)
    ax = ALL[name]()
    assert plt.get_fignums() == [ax.figure.number]
    assert ax.figure.get_size_inches()[0] == 3.4
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ALL)
def test_everything_drawn_is_finite_on_paper(name):
    """The figure can be drawn, and its axes keep most of its width for the data."""
    ax = ALL[name]()
    ax.figure.canvas.draw()
    assert ax.get_position().width > 0.45
    assert ax.get_position().height > 0.6


@pytest.mark.parametrize("name", ALL)
def test_axes_that_are_none(name):
    _, axes = plt.subplots(1, 2)
    with pytest.raises(
        ValueError, match=r"`ax` must be one matplotlib `Axes`, got ndarray: pick one, as in `axes\[0\]`"
    ):
        ALL[name](ax=axes)


@pytest.mark.slow
def test_importing_the_package_does_not_load_matplotlib():
    code = (
        "import sys, flowmod; assert 'matplotlib' not in sys.modules; flowmod.plot; assert 'matplotlib' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- boxes ---


@pytest.mark.parametrize("name", OVER_A_BOX)
@pytest.mark.parametrize(
    ("box", "complaint"),
    [
        (BOX[0], r"`box` must be a pair \(lower, upper\)"),
        ((BOX[0], {"u": 1.0, "v": 2.0}), "`box` must be two trees of one structure"),
        ((BOX[1], BOX[0]), "`box` must have finite corners, lower < upper"),
        ((BOX[0], jnp.array([jnp.inf, 1.0])), "`box` must have finite corners"),
        ((jnp.zeros(3), jnp.ones(3)), "`box` must have two numbers in each corner, got 3: a picture has two axes"),
        (({"u": -1.0, "v": -1.0}, {"u": 1.0, "v": 1.0}), "`box` must be two trees like the state.*can't be evaluated"),
    ],
)
def test_boxes_that_do_not_fit(name, box, complaint):
    draw = OVER_A_BOX[name] if name == "rate_map" else lambda box: getattr(fm.plot, name)(FLOW, box)
    with pytest.raises(ValueError, match=complaint):
        draw(box=box)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", OVER_A_BOX)
def test_what_is_no_flow(name):
    with pytest.raises(ValueError, match=r"`flow` must be a flow, got function. Wrap a potential as"):
        getattr(fm.plot, name)(lambda t, y, args: -y, BOX)


@pytest.mark.parametrize("name", OVER_A_BOX)
def test_scales(name):
    with pytest.raises(ValueError, match=r'`scale` must be "linear" or "log", got \'symlog\''):
        OVER_A_BOX[name](scale="symlog")
    with pytest.raises(ValueError, match=r'`box` must be positive for `scale="log"`.*raise it above zero'):
        OVER_A_BOX[name](scale="log")


@pytest.mark.parametrize("name", OVER_A_BOX)
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_axes_are_the_box(name, scale):
    box = ({"u": 1, "v": 0.5}, {"u": 100, "v": 20.0})
    ax = getattr(fm.plot, name)(toggle(), box, scale=scale)
    assert (ax.get_xscale(), ax.get_yscale()) == (scale, scale)
    np.testing.assert_allclose([*ax.get_xlim(), *ax.get_ylim()], [1, 100, 0.5, 20])


@pytest.mark.slow
def test_a_path_that_touches_zero_on_log_axes():
    """A start at zero concentration has no place there; the rest of its path does."""
    flow = fm.VectorField(
        lambda t, y, args: {"u": 1 - y["u"], "v": 2 - y["v"]}, potential=lambda y, args: y["u"] * y["v"]
    )
    run = fm.simulate(flow, {"u": 0.0, "v": 1.0}, t1=8.0)
    box = ({"u": 0.01, "v": 0.1}, {"u": 10.0, "v": 10.0})
    for ax in (fm.plot.landscape(flow, box, run, scale="log"), fm.plot.phase_portrait(flow, box, run, scale="log")):
        ax.figure.canvas.draw()
