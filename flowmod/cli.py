"""The command `flowmod`: parse, call, print.

Exit codes: 0 when all went well, 1 when a run failed on its way, 2 when the input was wrong or a module is missing.
What went wrong is one sentence on the error stream. Files come last and whole: nothing half-written stays behind.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from rich.console import Console
from rich.table import Table

from . import __version__, study
from .contraction import certify, contraction_rate
from .contraction.jacobian import default_metric
from .discrete import compare
from .metric import Euclidean
from .simulate import SimulationError, Trajectory, simulate
from .study import figures, files, literals, report
from .study.optimizers import OPTIMIZERS


class _RunFailed(click.ClickException):
    exit_code = 1


class _WrongInput(click.ClickException):
    exit_code = 2


def _told(command: Callable) -> Callable:
    """The command with its errors as a sentence and an exit code. A bug of flowmod's own keeps its traceback."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        try:
            command(**options)
        except SimulationError as error:
            raise _RunFailed(str(error)) from error
        except ModuleNotFoundError as error:
            raise _WrongInput(study.cure_for(error)) from error
        except Exception as error:
            place = study.place_in(options.get("target", ""), error)
            if place is not None:
                # JAX adds paragraphs of advice below the first line.
                line = str(error).partition("\n")[0]
                raise _WrongInput(f"{place}: {type(error).__name__}: {line}") from error
            if isinstance(error, ValueError):
                raise _WrongInput(str(error)) from error
            if isinstance(error, OSError):
                raise _RunFailed(str(error)) from error
            raise

    return run


def _with(*options: Callable) -> Callable:
    """Several options as one decorator; `--help` lists them in this order."""
    return lambda command: functools.reduce(lambda inner, option: option(inner), reversed(options), command)


_PATH = click.Path(path_type=Path)
_TARGET = click.argument("target", metavar="TARGET")
_SET = click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, help="A parameter of the model; give one for each."
)
_BOX = click.option("--box", metavar="NAME=LOW:HIGH", multiple=True, help="Where to look; one for each number.")
_Y0 = click.option(
    "--y0",
    metavar="NAME=VALUE",
    multiple=True,
    help="A number of the start; one for each. Or the whole start as JSON: '[1.0, 2.0]'.",
)
_T1 = click.option("--t1", type=click.FloatRange(min=0, min_open=True), help="The end time.")
_STIFF = click.option("--stiff", is_flag=True, help="Use an implicit solver.")
_OUT = click.option("--out", type=_PATH, help="Write the numbers, as .csv or as netCDF4 (.nc).")
_PLOT = click.option("--plot", type=_PATH, help="Draw a picture: .png, .pdf or .svg.")
_RUN = _with(
    _TARGET,
    _SET,
    _Y0,
    _T1,
    click.option("--points", type=click.IntRange(min=2), help="So many evenly spaced times instead of every step."),
    _STIFF,
    _OUT,
    _PLOT,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flowmod")
def main() -> None:
    """Riemannian gradient flows: run them, measure how fast they contract, find where they rest.

    A TARGET is the name of a built-in model (`flowmod list`), or file.py:object, where the object is a flow or a
    function that makes one.
    """
    # Here and not in the package: a library must not change its user's configuration.
    jax.config.update("jax_enable_x64", True)
    matplotlib.use("Agg")


@main.command()
@click.option("--quick", is_flag=True, help="Fewer starts, fewer images, shorter trainings.")
@click.option("--out", type=_PATH, default=Path("results/demo"), show_default=True, help="The folder for the results.")
@_told
def demo_command(quick: bool, out: Path) -> None:
    """Run a gene circuit and a network as Riemannian gradient flows; leave pictures, data and a report in a folder.

    The network, a regression and their optimizers learn the digits of scikit-learn. Without it they are left out.
    """
    command = ["flowmod", "demo", *(["--quick"] if quick else []), "--out", str(out)]
    config = study.quick_demo() if quick else study.DemoConfig()
    record = study.run_demo(config, out, command, say=lambda line: click.echo(f"{line} ...", err=True))
    for table in study.demo_tables(record["results"]):
        _show(table)
    if record["results"]["left_out"]:
        click.echo(record["results"]["left_out"])
    click.echo(f"{len(list(out.iterdir()))} files in {out}, {record['seconds']} s")


@main.command()
@_told
def list_command() -> None:
    """List the built-in models."""
    _show(report.models_table())


@main.command()
@_RUN
@_told
def simulate_command(target, settings, out, plot, **run) -> None:
    """Run a flow and say how it went."""
    found = _prepare(target, settings, out, plot)
    trajectory = _run(found, **run)
    click.echo(str(trajectory))
    save = functools.partial(files.save_trajectory, trajectory)
    files.keep(out, save, plot, lambda: figures.draw_run(found, trajectory))


@main.command()
@_RUN
@click.option(
    "--metric", type=click.Choice(["own", "euclidean"]), default="own", show_default=True, help="Measured in."
)
@click.option(
    "--norm",
    type=click.Choice(["1", "2", "inf"]),
    default="2",
    show_default=True,
    help="Of the metric: 1 and inf take a diagonal one.",
)
@_told
def contraction_command(target, settings, metric, norm, out, plot, **run) -> None:
    """Run a flow and print its contraction rate along the trajectory."""
    found = _prepare(target, settings, out, plot)
    trajectory = _run(found, **run)
    chosen = default_metric(found.flow, trajectory.ys, Euclidean() if metric == "euclidean" else None)
    rates = np.asarray(contraction_rate(found.flow, trajectory, metric=chosen, norm=float(norm)))
    name = "the Euclidean metric" if isinstance(chosen, Euclidean) else "the flow's own metric"
    name += "" if norm == "2" else f" and its {norm}-norm"
    times = np.asarray(trajectory.ts)
    _show(report.rates_table(times, rates))
    click.echo(report.rates_sentences(times, rates, name))
    save = functools.partial(files.save_rates, trajectory, rates)
    files.keep(out, save, plot, lambda: figures.draw_rates(trajectory, rates))


@main.command()
@_TARGET
@_SET
@_BOX
@click.option(
    "--metric", type=click.Choice(["own", "euclidean"]), default="own", show_default=True, help="Measured in."
)
@click.option("--norm", type=click.Choice(["1", "2", "inf"]), default="2", show_default=True, help="Of the metric.")
@click.option("--t", "times", metavar="LOW:HIGH", help="The times, for a flow that depends on the time.")
@click.option("--invariant", is_flag=True, help="Also prove that trajectories stay in the box.")
@click.option("--out", type=_PATH, help="Write the certificate, as .json, for `flowmod verify`.")
@_told
def certify_command(target, settings, box, metric, norm, times, invariant, out) -> None:
    """Prove a contraction rate on a whole box: exit code 0 if proved, 1 if disproved or undecided.

    A certificate that proves nothing is printed and written too.
    """
    files.check_file("--out", out, (".json",))
    found = study.resolve(target, literals.settings("--set", settings))
    certificate = certify(
        found.flow,
        found.box_from(box),
        Euclidean() if metric == "euclidean" else None,
        float(norm),
        literals.span("--t", times) if times else None,
        invariant=invariant,
    )
    click.echo(str(certificate))
    if out:
        certificate.save(out)
    if certificate.status != "proved":
        raise _RunFailed(f"no rate is proved: {certificate.status}.")
    if certificate.invariance is not None and certificate.invariance.status != "proved":
        raise _RunFailed(f"the rate is proved, but that the box is invariant is {certificate.invariance.status}.")


@main.command()
@click.argument("file", type=_PATH)
@_told
def verify_command(file) -> None:
    """Check a certificate's FILE by another route: exit code 0 if all it claims holds, 1 if not, 2 if it can't be read.

    A script of its own does it, in another process that knows neither JAX nor flowmod. It does not know your flow
    either: that the program in the file is the flow's is what `flowmod certify` is trusted with.
    """
    answer = study.verify(file)
    click.echo(answer.stdout, nl=False)
    if answer.returncode:
        raise (_WrongInput if answer.returncode == 2 else _RunFailed)(answer.stderr.strip())


@main.command()
@_TARGET
@_SET
@_Y0
@_T1
@click.option(
    "--optimizer",
    "names",
    type=click.Choice(list(OPTIMIZERS)),
    multiple=True,
    required=True,
    help="Compare this one; give one for each. sgd, momentum and adam are optax's, all others steps of the flow in its "
    "own metric; where there is momentum it is 0.9, with the step scaled by 0.1 so that it keeps the flow's time.",
)
@click.option("--steps", metavar="LOW:HIGH:COUNT", required=True, help="The step sizes, in equal ratios.")
@_STIFF
@_OUT
@_PLOT
@_told
def compare_command(target, settings, y0, t1, names, steps, stiff, out, plot) -> None:
    """Compare a flow with discrete optimizers: their fates, their distance, the largest stable step."""
    found = _prepare(target, settings, out, plot)
    step_sizes = literals.steps("--steps", steps)
    optimizers = {name: OPTIMIZERS[name](found.flow) for name in names}
    start, end = found.start_from(y0), found.end_time(t1)
    solver = "stiff" if stiff else None
    comparison = compare(found.flow, optimizers, start, step_sizes, end, solver=solver)
    _show(report.fates_table(comparison))
    _show(report.limits_table(comparison))
    if comparison.attrs["notes"]:
        click.echo(comparison.attrs["notes"])
    save = functools.partial(files.save_dataset, comparison)
    files.keep(out, save, plot, lambda: figures.draw_comparison(comparison))


@main.command()
@_TARGET
@_SET
@_Y0
@_T1
@click.option("--steps", metavar="LOW:HIGH:COUNT", required=True, help="The step sizes, in equal ratios.")
@click.option(
    "--momentum", metavar="LOW:HIGH:COUNT", help="Heavy balls with these momenta, evenly spaced; Euler's steps without."
)
@_STIFF
@_OUT
@_PLOT
@_told
def stability_command(target, settings, y0, t1, steps, momentum, stiff, out, plot) -> None:
    """Say which steps of a flow are stable: the limits of methods where it ends, and what becomes of runs."""
    found = _prepare(target, settings, out, plot)
    step_sizes = literals.steps("--steps", steps)
    momenta = None if momentum is None else literals.fractions("--momentum", momentum)
    start = found.start_from(y0)
    run = simulate(found.flow, start, found.end_time(t1), solver="stiff" if stiff else None)
    end = jax.tree.map(lambda leaf: jnp.asarray(leaf[-1]), run.ys)
    fates = study.fates_over_steps(found.flow, start, step_sizes, momenta)
    _show(report.method_limits_table(study.limits_by_method(found.flow, end)))
    _show(report.settled_table(fates) if momenta is None else report.stability_table(fates))
    save = functools.partial(files.save_dataset, fates)
    files.keep(out, save, plot, lambda: figures.draw_stability(fates))


@main.command()
@_TARGET
@_SET
@_BOX
@_OUT
@_PLOT
@_told
def equilibria_command(target, settings, box, out, plot) -> None:
    """Find where a flow stands still, and the barriers between its valleys."""
    found = _prepare(target, settings, out, plot)
    region = found.box_from(box)
    points = found.equilibria(region)
    if len(points):
        _show(report.equilibria_table(points))
    else:
        click.echo(f"No equilibrium found from {points.starts} starts: there may be none in the box.")
    if study.barriers(points):
        _show(report.barriers_table(study.barriers(points)))
    save = functools.partial(files.save_equilibria, points)
    files.keep(out, save, plot, lambda: figures.draw_equilibria(found, region, points))


def _prepare(target: str, settings: tuple[str, ...], out: Path | None, plot: Path | None) -> study.Target:
    files.check_file("--out", out, files.TABLES)
    files.check_file("--plot", plot, files.PICTURES)
    return study.resolve(target, literals.settings("--set", settings))


def _run(found: study.Target, y0, t1, points, stiff) -> Trajectory:
    end = found.end_time(t1)
    ts = None if points is None else np.linspace(0, end, points)
    return simulate(found.flow, found.start_from(y0), end, ts=ts, solver="stiff" if stiff else None)


def _show(table: Table) -> None:
    Console().print(table)
