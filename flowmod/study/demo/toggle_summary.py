"""The numbers of the toggle switch as a dict for JSON."""

from typing import Any

import numpy as np

from ...flow import Equilibria
from ...simulate import Trajectory
from ..fixed_points import barriers, numbers_by_name
from ..rates import summarise_rates
from .toggle import Toggle


def summarise_toggle(toggle: Toggle) -> dict[str, Any]:
    """Every number of the toggle switch; times, energies and rates are dimensionless."""
    elsewhere = toggle.ends != toggle.flat_ends
    return {
        "equilibria": _equilibria(toggle.equilibria),
        "barriers": [
            {"from": numbers_by_name(barrier.minimum), "height": barrier.height}
            for barrier in barriers(toggle.equilibria)
        ],
        "run": _balance(toggle.trajectory, toggle.trajectory.ys),
        "rates": summarise_rates(np.asarray(toggle.trajectory.ts), toggle.rates),
        "ensemble": {
            "starts": len(toggle.runs),
            "failed": len(toggle.runs.failed),
            "worst_imbalance": float(np.nanmax(np.abs(np.asarray(toggle.runs.ledger)))),
            "at_no_equilibrium": int(np.sum(toggle.ends < 0)),
        },
        "flat_metric": {
            "failed": len(toggle.flat_runs.failed),
            "worst_imbalance": float(np.nanmax(np.abs(np.asarray(toggle.flat_runs.ledger)))),
            "at_no_equilibrium": int(np.sum(toggle.flat_ends < 0)),
            "end_elsewhere": int(elsewhere.sum()),
            "share_elsewhere": float(elsewhere.mean()),
        },
        "inertial_run": {"damping": toggle.config.damping} | _balance(toggle.inertial, toggle.inertial.ys[0]),
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
