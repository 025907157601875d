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
    table = new_table("model", "what it is", "--set", "--y0", "--t1")
    for model in MODELS.values():
        table.add_row(model.name, model.about, pairs(model.parameters), pairs(model.start), f"{model.t1:g}")
    return table


def equilibria_table(equilibria: Equilibria) -> Table:
    """The equilibria found, with the eigenvalues of the Jacobian."""
    title = f"{len(equilibria)} found from {equilibria.starts} starts of Newton's method"
    table = new_table("equilibrium", "stability", "eigenvalues (1/time)", "potential", title=title)
    for point in equilibria:
        eigenvalues = [complex_number(complex(value)) for value in point.eigenvalues[:_MOST_EIGENVALUES]]
        if len(point.eigenvalues) > _MOST_EIGENVALUES:
            eigenvalues.append("...")
        energy = "" if point.potential is None else f"{point.potential:.9g}"
        table.add_row(pairs(numbers_by_name(point)), point.stability, ", ".join(eigenvalues), energy)
    return table


def barriers_table(barriers: list[Barrier]) -> Table:
    """The height of saddles above stable equilibria."""
    table = new_table("from", "over the saddle", "barrier")
    for minimum, saddle, height in barriers:
        table.add_row(pairs(numbers_by_name(minimum)), pairs(numbers_by_name(saddle)), f"{height:.8g}")
    return table


def rates_table(times: np.ndarray, rates: np.ndarray) -> Table:
    """The contraction rate at some times of a run."""
    table = new_table("time", "contraction rate (1/time)")
    for row in np.unique(np.linspace(0, len(times) - 1, _ROWS).round().astype(int)):
        table.add_row(f"{times[row]:.6g}", f"{rates[row]:.6g}")
    return table


def rates_sentences(times: np.ndarray, rates: np.ndarray, metric: str) -> str:
    """What the rates amount to, and what they do not say."""
    summary = summarise_rates(times, rates)
    lines = [f"Along this trajectory, in {metric}:"]
    if summary["least"] is not None:
        lines.append(f"  least {summary['least']:.6g}, most {summary['most']:.6g}")
        lines.append(f"  negative for {times_text(summary['negative_between'])}")
    if summary["missing"]:
        lines.append(f"  none at {summary['missing']} of {len(rates)} times, where the metric is not positive definite")
    return "\n".join([*lines, "This is no certificate: it says nothing of states that were not visited."])


def fates_table(comparison: Any) -> Table:
    """What became of every run of a comparison of optimizers with their flow."""
    table = new_table("optimizer", "step size", "updates", "fate", "distance at the end", "largest distance")
    for name in comparison["optimizer"].values:
        for row, step_size in enumerate(comparison["step_size"].values):
            run = comparison.sel(optimizer=name).isel(step_size=row)
            distances = run["distance"].values
            last, largest = (f"{value:.4g}" for value in (distances[-1], np.max(distances)))
            period = int(run["period"])
            fate = str(run["fate"].values) + (f", period {period}" if period else "")
            table.add_row(name, f"{step_size:.4g}", str(int(run["update"][-1])), fate, last, largest)
        table.add_section()
    return table


def limits_table(comparison: Any) -> Table:
    """The order, up to which step size it holds, and the predicted step limits of every optimizer of a comparison."""
    table = new_table("optimizer", "order", "up to", "step limit at the start", "smallest along the flow")
    for name in comparison["optimizer"].values:
        run = comparison.sel(optimizer=name)
        numbers = (float(run[key]) for key in ("order", "order_until", "limit_at_start", "predicted_limit"))
        table.add_row(name, *("unknown" if np.isnan(number) else f"{number:.4g}" for number in numbers))
    return table


def method_limits_table(limits: dict[str, float]) -> Table:
    """The step limits of methods at one state."""
    table = new_table("method", "step limit at the end of the flow's run")
    for name, limit in limits.items():
        table.add_row(name, "none" if np.isinf(limit) else f"{limit:.6g}")
    return table


def settled_table(diagram: Any) -> Table:
    """What runs settled on over their step size."""
    table = new_table("step size", "fate of Euler's method", "period", "growth of a distance per update")
    for row in range(diagram.sizes["step_size"]):
        run = diagram.isel(step_size=row)
        period = str(int(run["period"]) or "")
        table.add_row(f"{float(run['step_size']):.4g}", str(run["fate"].values), period, f"{float(run['growth']):.4g}")
    return table


def stability_table(stability_map: Any) -> Table:
    """For each momentum the predicted limit, and between which step sizes runs no longer come to rest."""
    table = new_table("momentum", "predicted limit", "comes to rest up to", "diverges from")
    steps = stability_map["step_size"].values
    for momentum in stability_map["momentum"].values:
        runs = stability_map.sel(momentum=momentum)
        fates = runs["fate"].values
        unrest = np.flatnonzero(~np.isin(fates, ("converged", "converging")))
        rests, diverges = steps[: unrest[0] if unrest.size else None][-1:], steps[fates == "diverged"][:1]
        ends = (f"{step[0]:.4g}" if step.size else "" for step in (rests, diverges))
        table.add_row(f"{momentum:.4g}", f"{float(runs['predicted_limit']):.4g}", *ends)
    return table


def times_text(intervals: list[list[float]]) -> str:
    """Intervals of time as text."""
    return ", ".join(f"t = {low:.4g} to {high:.4g}" for low, high in intervals) or "no time"


def pairs(numbers: dict[str, float]) -> str:
    """Numbers by name as text."""
    # What Newton's method leaves of a zero is no number to read.
    return ", ".join(f"{name}={0.0 if abs(number) < 1e-12 else number:.6g}" for name, number in numbers.items())


def complex_number(value: complex) -> str:
    """A complex number as text, its imaginary part only if it has one."""
    return f"{value.real:.6g}" + (f"{value.imag:+.6g}i" if value.imag else "")


def new_table(*columns: str, title: str | None = None) -> Table:
    """A table in which long texts are folded and not cut."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
