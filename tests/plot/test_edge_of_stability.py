"""Three panels of a run at its edge: every line is the variable that its label names."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import flowmod as fm

LOSSES = {
    "optimizer": "loss",
    "its mean": "mean_loss",
    "predicted mean": "mean_predicted_loss",
    "central flow": "loss_central",
    "gradient flow": "loss_flow",
}


@pytest.fixture
def dataset():
    """Numbers that are all different, and a run that is not finite at its end."""
    names = [*LOSSES.values(), "sharpness", "distance_flow", "distance_central"]
    variables = {name: ("step", np.array([3.0, 2.0, 1.5, np.nan]) + k / 8) for k, name in enumerate(names)}
    variables["curvature"] = (("step", "direction"), np.array([[4.0, 2.0], [5.0, 3.0], [5.0, 5.0], [5.0, 4.5]]))
    return xr.Dataset(variables, coords={"step": np.arange(4)}, attrs={"threshold": 5.0})


def lines(ax):
    return {line.get_label(): np.asarray(line.get_ydata(), dtype=float) for line in ax.lines}


def test_each_line_is_what_its_label_says(dataset):
    losses, curvatures, distances = (lines(ax) for ax in fm.plot.edge_of_stability(dataset))
    assert set(losses) == set(LOSSES)
    for label, name in LOSSES.items():
        np.testing.assert_array_equal(losses[label], dataset[name])
    np.testing.assert_array_equal(curvatures["optimizer"], dataset["sharpness"])
    np.testing.assert_array_equal(curvatures["central flow"], dataset["curvature"][:, 0])
    np.testing.assert_array_equal(curvatures["threshold"], [5.0, 5.0])
    for label in ("gradient", "central"):
        name = "distance_flow" if label == "gradient" else "distance_central"
        np.testing.assert_array_equal(distances[f"from the {label} flow"], dataset[name])


def test_given_axes_are_used(dataset):
    axes = plt.subplots(3)[1]
    assert list(fm.plot.edge_of_stability(dataset, axes=axes)) == list(axes)
    assert axes[2].get_xlabel() == "step"
    axes[0].figure.canvas.draw()


def test_wrong_input(dataset):
    with pytest.raises(ValueError, match=r"`dataset` must be what `fm.edge_of_stability` returns, got NoneType"):
        fm.plot.edge_of_stability(None)
    with pytest.raises(ValueError, match=r"`axes` must be three matplotlib `Axes`, got 2"):
        fm.plot.edge_of_stability(dataset, axes=plt.subplots(2)[1])
