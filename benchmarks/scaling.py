"""How the layerwise update grows with width, depth, batch and outputs: fitted exponents, and the figure of the docs."""

import csv
import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import flowmod as fm
from benchmarks.cases import digits, digits_problem, temporary_mib, update
from benchmarks.comparators.materialised import materialised_update
from benchmarks.comparators.plain import mean_loss, plain_weights
from benchmarks.timing import Row, interleaved, ratio
from tests.networks import tanh_network

_STATIC = Path(__file__).parents[1] / "docs" / "_static"
_MASS = 1e-2
_MOST_FORMED = 2**26
"""Numbers in the row factors beyond which the baseline does not form them: half a gigabyte."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One axis: what is varied, over which values, and which exponent is wanted from which value on."""

    name: str
    values: tuple[int, ...]
    wanted: float
    fitted_from: int = 0


SWEEPS = (
    Sweep("width", (64, 128, 256, 512, 1024, 2048), 1.2),
    Sweep("depth", (2, 4, 8, 16, 32), 1.05),
    Sweep("batch", (8, 16, 32, 64, 128, 256, 512, 1024, 1797), 1.3, fitted_from=128),
    Sweep("outputs", (1, 2, 5, 10, 20, 50, 100), 1.3),
)


def fitted_exponent(sizes, seconds) -> float:
    """`p` of `seconds ~ sizes^p`, by least squares on the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _case(axis: str, value: int):
    """A network, its problem, and the same data for the baselines."""
    if axis == "outputs":
        net = tanh_network(64, 128, 128, value)
        inputs = digits(32)[0]
        targets = jax.random.normal(jax.random.key(0), (32, value))
        return net, fm.Supervised(net, fm.MeanSquaredError(), inputs, targets), (inputs, targets)
    count = value if axis == "batch" else 32
    hidden = {"width": (value, value), "depth": (64,) * (value - 1)}.get(axis, (128, 128))
    net, problem = digits_problem(count, (64, *hidden, 10))
    return net, problem, digits(count)


def _measured(sweep: Sweep, repeats: int = 7) -> dict[str, tuple[list[int], list[float], list[float]]]:
    """Values, seconds and MiB by route; the sizes of one sweep take turns."""
    calls, memory, keys = [], [], []
    for value in sweep.values:
        net, problem, (inputs, targets) = _case(sweep.name, value)
        weights = plain_weights(net)
        metric = fm.LayerwiseMetric.of(problem, mass=_MASS)
        programs = {"layerwise": (update(problem, metric), net)}
        programs["gradient"] = (jax.jit(lambda w, x=inputs, y=targets: jax.grad(mean_loss)(w, x, y)), weights)
        formed = inputs.shape[0] * net(inputs[0]).size * sum(w.size for w, _ in weights)
        if formed <= _MOST_FORMED:
            formed = jax.jit(lambda w, x=inputs, y=targets: materialised_update(w, x, y, _MASS))
            programs["materialised rows"] = (formed, weights)
        for route, (program, state) in programs.items():
            keys.append((route, value))
            calls.append(lambda program=program, state=state: jax.block_until_ready(program(state)))
            memory.append(temporary_mib(program, state))
    curves: dict[str, tuple[list[int], list[float], list[float]]] = {}
    for (route, value), seconds, mib in zip(keys, interleaved(*calls, repeats=repeats), memory, strict=True):
        for column, entry in zip(curves.setdefault(route, ([], [], [])), (value, seconds, mib), strict=True):
            column.append(entry)
    return curves


def _row(sweep: Sweep, curves) -> Row:
    values, seconds, mib = map(np.asarray, curves["layerwise"])
    fitted = values >= sweep.fitted_from
    exponent = fitted_exponent(values[fitted], seconds[fitted])
    last = fitted_exponent(values[-3:], seconds[-3:])
    what = f"{sweep.name} {values[fitted][0]} to {values[-1]}: exponent of the time"
    times = f"{1e3 * seconds[fitted][0]:.3g} to {1e3 * seconds[-1]:.3g} ms"
    shown = f"{exponent:.2f} (last three {last:.2f}; {times}, {mib[fitted][0]:.2g} to {mib[-1]:.3g} MiB)"
    return Row(what, shown, f"<= {sweep.wanted}", exponent <= sweep.wanted)


def draw(measured: dict[str, dict], path: Path) -> None:
    """The times of all sweeps on logarithmic axes, one panel each."""
    fig, axes = plt.subplots(1, len(measured), figsize=(3.0 * len(measured), 2.9), sharey=True, layout="constrained")
    styles = {"layerwise": ("#0072B2", "o-"), "materialised rows": ("#D55E00", "s--"), "gradient": ("#767676", "^:")}
    for ax, sweep in zip(axes, SWEEPS, strict=True):
        for route, (colour, mark) in styles.items():
            values, seconds, _ = measured[sweep.name][route]
            ax.loglog(values, 1e3 * np.asarray(seconds), mark, color=colour, markersize=4, linewidth=1.2, label=route)
        ax.set_xlabel(sweep.name)
        ax.set_xticks([sweep.values[0], sweep.values[-1]], map(str, (sweep.values[0], sweep.values[-1])), minor=False)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("time of an update (ms)")
    axes[0].legend(frameon=False, fontsize="small")
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


def write_table(measured: dict[str, dict], path: Path) -> None:
    """All times and temporary memory as comma-separated values."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["varied", "value", "route", "ms", "MiB"])
        for name, curves in measured.items():
            for route, columns in curves.items():
                for value, seconds, mib in zip(*columns, strict=True):
                    table.writerow([name, value, route, f"{1e3 * seconds:.3g}", f"{mib:.3g}"])


def _repeated(depth: int):
    """A network of that many equal layers between the first and the last, as one layer with stacked parameters."""
    first, last, *keys = jax.random.split(jax.random.key(0), depth + 2)
    equal = fm.Repeated([fm.Linear(64, 64, key=key) >> fm.Pointwise(jnp.tanh) for key in keys])
    net = fm.Linear(64, 64, key=first) >> fm.Pointwise(jnp.tanh) >> equal >> fm.Linear(64, 10, key=last)
    return net, fm.Supervised(net, fm.SoftmaxCrossEntropy(), *digits(32))


def _compilation() -> Row:
    def seconds(depth):
        net, problem = _repeated(depth)
        jax.clear_caches()  # or the second program would find most of the first one's
        start = time.perf_counter()
        update(problem, fm.LayerwiseMetric.of(problem, mass=_MASS)).lower(net).compile()
        return time.perf_counter() - start

    pairs = [(seconds(32), seconds(2)) for _ in range(3)]
    deep, shallow = (float(np.median(times)) for times in zip(*pairs, strict=True))
    return ratio("compilation of 32 equal layers against 2, `fm.Repeated`", deep, shallow, 1.5)


def measure() -> list[Row]:
    """All rows; the figure and the table go to `docs/_static`."""
    jax.config.update("jax_enable_x64", True)
    measured = {sweep.name: _measured(sweep) for sweep in SWEEPS}
    draw(measured, _STATIC / "layerwise_scaling.svg")
    write_table(measured, _STATIC / "layerwise_scaling.csv")
    return [*(_row(sweep, measured[sweep.name]) for sweep in SWEEPS), _compilation()]
