"""What the demo prints: a table for each part, from the `results` of its `run.json`."""

from itertools import pairwise
from typing import Any

from rich.table import Table

from ..report import complex_number, new_table, pairs, times_text

_WHY_NEGATIVE = (
    "The rate is negative, as a network's must be expected to be: directions that leave its outputs unchanged have no "
    "Gauss-Newton curvature, and the curvature of the residuals, which decides there, has both signs. The loss falls "
    "all the same."
)

_WHAT_A_LIMIT_IS = (
    "A limit is that of the linearised flow, and no promise: a training that begins above it may settle, too. Adam is "
    "no discretisation of this flow, and has none."
)


def demo_tables(results: dict[str, Any]) -> list[Table]:
    """One table for each part that ran."""
    tables = [_toggle(results["toggle"])]
    if "network" in results:
        tables += [_network(results["network"]), _spectrum(results["network"])]
    if "regression" in results:
        tables.append(_regression(results["regression"]))
    if "optimizers" in results:
        tables.append(_optimizers(results["optimizers"]))
    return tables


def _toggle(results: dict[str, Any]) -> Table:
    run, inertial, runs, flat = (results[key] for key in ("run", "inertial_run", "ensemble", "flat_metric"))
    table = new_table("quantity", "value", title="The toggle switch")
    for point in results["equilibria"]:
        eigenvalues = ", ".join(complex_number(complex(*parts)) for parts in point["eigenvalues"])
        where = f"{point['stability']} at {pairs(point['state'])}"
        table.add_row(where, f"potential {point['potential']:.9g}, eigenvalues {eigenvalues}")
    table.add_section()
    for barrier in results["barriers"]:
        table.add_row(f"barrier from {pairs(barrier['from'])}", f"{barrier['height']:.8g}")
    table.add_section()
    _add_balance(table, f"run from {pairs(run['from'])} until t = {run['t1']:g}", run)
    rates = results["rates"]
    table.add_row("contraction rate along it", f"{rates['least']:.4g} to {rates['most']:.4g}")
    table.add_row("negative for", times_text(rates["negative_between"]))
    table.add_section()
    table.add_row("starts on a grid", f"{runs['starts']} ({runs['failed']} failed)")
    table.add_row("worst imbalance of all", f"{runs['worst_imbalance']:.2g}")
    elsewhere = f"{flat['end_elsewhere']} ({flat['share_elsewhere']:.1%}; {flat['failed']} failed)"
    table.add_row("that end elsewhere in the flat metric", elsewhere)
    table.add_row("worst imbalance there", f"{flat['worst_imbalance']:.2g}")
    table.add_section()
    _add_balance(table, f"with inertia, damping {inertial['damping']:g}, until t = {inertial['t1']:g}", inertial)
    return table


def _add_balance(table: Table, name: str, balance: dict[str, Any]) -> None:
    table.add_row(name, f"ends at {pairs(balance['to'])}")
    table.add_row("energy lost", f"{balance['lost']:.8g}")
    table.add_row("energy dissipated through the metric", f"{balance['dissipated']:.8g}")
    table.add_row("worst imbalance, relative", f"{balance['worst_imbalance']:.2g}")


def _network(results: dict[str, Any]) -> Table:
    runs = [results["euclidean"], results["layerwise"]]
    title = f"The network, {results['images']} images"
    table = new_table("quantity", "Euclidean flow", f"layerwise flow, mass {results['mass']:g}", title=title)
    for name, text in (
        ("flow time", lambda run: f"{run['t1']:g}"),
        ("wall time (s)", lambda run: f"{run['seconds'][-1]:.2f}"),
        ("steps, accepted + rejected", lambda run: f"{run['steps']['accepted']} + {run['steps']['rejected']}"),
        ("loss", lambda run: f"{run['loss'][0]:.4f} to {run['loss'][-1]:.4f}"),
        ("test accuracy", lambda run: f"{run['test_accuracy'][0]:.3f} to {run['test_accuracy'][-1]:.3f}"),
        ("worst imbalance, relative", lambda run: f"{run['worst_imbalance']:.2g}"),
        ("largest inner residual", lambda run: f"{run['largest_inner_residual']:.2g}"),
        ("smallest step limit along it", lambda run: _text(_least(run["step_limits"]))),
    ):
        table.add_row(name, *map(text, runs))
    for name, values in results["layerwise"]["conditions"].items():
        table.add_row(f"condition number of {name}", "1", f"{values[0]:.3g} to {values[-1]:.3g}")
    return table


def _spectrum(results: dict[str, Any]) -> Table:
    run = results["layerwise"]
    table = new_table("flow time", "contraction rate", "leading eigenvalue", "step limit", title="The layerwise flow")
    for row in zip(run["probed"], run["rates"], run["leading_eigenvalues"], run["step_limits"], strict=True):
        table.add_row(*map(_text, row))
    if any(rate is not None and rate < 0 for rate in run["rates"]):
        table.caption, table.caption_justify = _WHY_NEGATIVE, "left"
    return table


def _regression(results: dict[str, Any]) -> Table:
    title = f"Softmax regression with weight decay, {results['images']} images, in its own metric"
    table = new_table(
        "weight decay", "decay / mass", "contraction rate", "until", "envelope", "twins that far apart", title=title
    )
    for run in results["runs"]:
        rates, last = run["rates"], [twin[-1] for twin in run["twins"]]
        table.add_row(
            f"{run['decay']:g}",
            f"{run['decay_over_mass']:g}",
            _range(rates),
            f"t = {run['times'][-1]:g}",
            f"{run['envelope'][-1]:.4g}",
            _range(last),
        )
    return table


def _optimizers(results: dict[str, Any]) -> Table:
    table = new_table(
        "optimizer",
        "order",
        "step limit at the start",
        "smallest along the flow",
        "fates by step size",
        title=f"Optimizers beside their flow, {results['images']} images",
    )
    for name, run in results["runs"].items():
        numbers = (run[key] for key in ("order", "limit_at_start", "predicted_limit"))
        table.add_row(f"{name}, {run['flow']} flow", *map(_text, numbers), _fates(run["step_sizes"], run["fates"]))
    table.caption, table.caption_justify = _WHAT_A_LIMIT_IS, "left"
    return table


def _fates(step_sizes: list[float], fates: list[str]) -> str:
    """Which fate from which step size on."""
    changes = [row + 1 for row, (before, after) in enumerate(pairwise(fates)) if before != after]
    return "\n".join(f"{fates[row]} from {step_sizes[row]:.2g}" for row in (0, *changes))


def _range(values: list[float]) -> str:
    low, high = (f"{end:.4g}" for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _least(values: list[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
