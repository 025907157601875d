"""What the commands print: tables for the terminal."""

from typing import Any

import numpy as np
from rich.table import Table

from ..flow import Equilibria
from .fixed_points import Barrier, numbers_by_name
from .models import MODELS
from .rates import summarise_rates

_ROWS = 9
_MOST_EIGENVALUES = 4


def models_table() -> Table:
    """The built-in models with the defaults of their parameters and states."""
    table = _table("model", "what it is", "--set", "--y0", "--t1")
    for model in MODELS.values():
        table.add_row(model.name, model.about, _pairs(model.parameters), _pairs(model.start), f"{model.t1:g}")
    return table


def equilibria_table(equilibria: Equilibria) -> Table:
    """The equilibria found, with the eigenvalues of the Jacobian."""
    title = f"{len(equilibria)} found from {equilibria.starts} starts of Newton's method"
    table = _table("equilibrium", "stability", "eigenvalues (1/time)", "potential", title=title)
    for point in equilibria:
        eigenvalues = [_complex(complex(value)) for value in point.eigenvalues[:_MOST_EIGENVALUES]]
        if len(point.eigenvalues) > _MOST_EIGENVALUES:
            eigenvalues.append("...")
        energy = "" if point.potential is None else f"{point.potential:.9g}"
        table.add_row(_pairs(numbers_by_name(point)), point.stability, ", ".join(eigenvalues), energy)
    return table


def barriers_table(barriers: list[Barrier]) -> Table:
    """The height of saddles above stable equilibria."""
    table = _table("from", "over the saddle", "barrier")
    for minimum, saddle, height in barriers:
        table.add_row(_pairs(numbers_by_name(minimum)), _pairs(numbers_by_name(saddle)), f"{height:.8g}")
    return table


def rates_table(times: np.ndarray, rates: np.ndarray) -> Table:
    """The contraction rate at some times of a run."""
    table = _table("time", "contraction rate (1/time)")
    for row in np.unique(np.linspace(0, len(times) - 1, _ROWS).round().astype(int)):
        table.add_row(f"{times[row]:.6g}", f"{rates[row]:.6g}")
    return table


def rates_sentences(times: np.ndarray, rates: np.ndarray, metric: str) -> str:
    """What the rates amount to, and what they do not say."""
    summary = summarise_rates(times, rates)
    lines = [f"Along this trajectory, in {metric}:"]
    if summary["least"] is not None:
        lines.append(f"  least {summary['least']:.6g}, most {summary['most']:.6g}")
        lines.append(f"  negative for {_intervals(summary['negative_between'])}")
    if summary["missing"]:
        lines.append(f"  none at {summary['missing']} of {len(rates)} times, where the metric is not positive definite")
    return "\n".join([*lines, "This is no certificate: it says nothing of states that were not visited."])


def demo_table(results: dict[str, Any]) -> Table:
    """The numbers of the demo, from the `results` of its `run.json`."""
    run, inertial, runs, flat = (results[key] for key in ("run", "inertial_run", "ensemble", "flat_metric"))
    table = _table("quantity", "value")
    for point in results["equilibria"]:
        eigenvalues = ", ".join(_complex(complex(*parts)) for parts in point["eigenvalues"])
        where = f"{point['stability']} at {_pairs(point['state'])}"
        table.add_row(where, f"potential {point['potential']:.9g}, eigenvalues {eigenvalues}")
    table.add_section()
    for barrier in results["barriers"]:
        table.add_row(f"barrier from {_pairs(barrier['from'])}", f"{barrier['height']:.8g}")
    table.add_section()
    _add_balance(table, f"run from {_pairs(run['from'])} until t = {run['t1']:g}", run)
    rates = results["rates"]
    table.add_row("contraction rate along it", f"{rates['least']:.4g} to {rates['most']:.4g}")
    table.add_row("negative for", _intervals(rates["negative_between"]))
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
    table.add_row(name, f"ends at {_pairs(balance['to'])}")
    table.add_row("energy lost", f"{balance['lost']:.8g}")
    table.add_row("energy dissipated through the metric", f"{balance['dissipated']:.8g}")
    table.add_row("worst imbalance, relative", f"{balance['worst_imbalance']:.2g}")


def _intervals(intervals: list[list[float]]) -> str:
    return ", ".join(f"t = {low:.4g} to {high:.4g}" for low, high in intervals) or "no time"


def _pairs(numbers: dict[str, float]) -> str:
    # What Newton's method leaves of a zero is no number to read.
    return ", ".join(f"{name}={0.0 if abs(number) < 1e-12 else number:.6g}" for name, number in numbers.items())


def _complex(value: complex) -> str:
    return f"{value.real:.6g}" + (f"{value.imag:+.6g}i" if value.imag else "")


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
