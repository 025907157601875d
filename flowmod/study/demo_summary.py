"""The numbers of the demo as a dict for JSON: what `run.json` keeps and the table shows."""

from typing import Any

import numpy as np

from ..flow import Equilibria
from ..simulate import Trajectory
from .demo import Demo
from .fixed_points import barriers, numbers_by_name
from .rates import summarise_rates


def summarise(demo: Demo) -> dict[str, Any]:
    """Every number of the demo's report; times, energies and rates are dimensionless."""
    elsewhere = demo.ends != demo.flat_ends
    return {
        "equilibria": _equilibria(demo.equilibria),
        "barriers": [
            {"from": numbers_by_name(barrier.minimum), "height": barrier.height}
            for barrier in barriers(demo.equilibria)
        ],
        "run": _balance(demo.trajectory, demo.trajectory.ys),
        "rates": summarise_rates(np.asarray(demo.trajectory.ts), demo.rates),
        "ensemble": {
            "starts": len(demo.runs),
            "failed": len(demo.runs.failed),
            "worst_imbalance": float(np.nanmax(np.abs(np.asarray(demo.runs.ledger)))),
            "at_no_equilibrium": int(np.sum(demo.ends < 0)),
        },
        "flat_metric": {
            "failed": len(demo.flat_runs.failed),
            "worst_imbalance": float(np.nanmax(np.abs(np.asarray(demo.flat_runs.ledger)))),
            "at_no_equilibrium": int(np.sum(demo.flat_ends < 0)),
            "end_elsewhere": int(elsewhere.sum()),
            "share_elsewhere": float(elsewhere.mean()),
        },
        "inertial_run": {"damping": demo.config.damping} | _balance(demo.inertial, demo.inertial.ys[0]),
    }


def _equilibria(equilibria: Equilibria) -> list[dict[str, Any]]:
    """Each equilibrium with its state, stability, eigenvalues (real, imaginary) and potential."""
    return [
        {
            "state": numbers_by_name(point),
            "stability": point.stability,
            "eigenvalues": [[float(value.real), float(value.imag)] for value in point.eigenvalues],
            "potential": point.potential,
        }
        for point in equilibria
    ]


def _balance(trajectory: Trajectory, place: dict[str, np.ndarray]) -> dict[str, Any]:
    energy, dissipated, ledger = (
        np.asarray(values) for values in (trajectory.energy, trajectory.dissipated, trajectory.ledger)
    )
    return {
        "from": {name: float(leaf[0]) for name, leaf in place.items()},
        "to": {name: float(leaf[-1]) for name, leaf in place.items()},
        "t1": float(trajectory.end_time),
        "lost": float(energy[0] - energy[-1]),
        "dissipated": float(dissipated[-1]),
        "worst_imbalance": float(np.abs(ledger).max()),
    }
