"""What one sample changed, for growing numbers of samples, and the power law through it."""

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

QUANTITIES = {
    "loss": "change of the loss of a sample",
    "prediction": "length of the change of the output of a sample",
    "distance": "distance of the twin's end, in the flow's metric at the other end",
    "parameters": "distance of the twin's end, Euclidean",
}


class PowerLaw(NamedTuple):
    """A line through logarithms.

    Attributes:
        slope: the exponent.
        error: its standard error; it knows nothing of a curve. NaN for fewer than three sizes.
    """

    slope: float
    error: float

    def __str__(self) -> str:
        return f"{self.slope:.3f} +- {self.error:.3f}"


@dataclasses.dataclass(frozen=True)
class StabilityLadder:
    """Twin runs on data that differ in one sample, for several numbers of samples.

    Attributes:
        sizes: numbers of samples, (S,).
        loss: the change of the loss of each probe, (S, twins, probes); NaN where a size has fewer twins.
        prediction: the length of the change of each probe's output, (S, twins, probes), or `None`.
        distance: the length of the difference of the ends, in the metric at the end on unchanged data, (S, twins):
            their distance if the metric is constant, else up to terms of second order.
        parameters: the Euclidean length of that difference, (S, twins).
        changed: which sample of the pool is changed, (twins,); the same ones for all sizes.
        replacements: which one takes its place, (twins,), or `None` where it is left out.
        kind: `"replace-one"` or `"leave-one-out"`.
        t1: how long the runs took.
        step_size: of Euler's method, or `None` for the flow itself.
    """

    sizes: np.ndarray
    loss: np.ndarray
    prediction: np.ndarray | None
    distance: np.ndarray
    parameters: np.ndarray
    changed: np.ndarray
    replacements: np.ndarray | None
    kind: str
    t1: float
    step_size: float | None

    def largest(self, quantity: str = "loss") -> np.ndarray:
        """The largest change of all twins and probes, (S,): uniform stability as far as it was looked for."""
        values = self._values(quantity)
        return np.nanmax(values, axis=tuple(range(1, values.ndim)))

    def mean(self, quantity: str = "loss") -> np.ndarray:
        """The mean change over twins and probes, (S,)."""
        values = self._values(quantity)
        return np.nanmean(values, axis=tuple(range(1, values.ndim)))

    def fit(self, quantity: str = "loss", *, mean: bool = False) -> PowerLaw:
        """The exponent with which the largest (or the mean) change goes with the number of samples.

        It is -1 for a flow that contracts as fast for all of them, once it has had the time.
        """
        values = self.mean(quantity) if mean else self.largest(quantity)
        if not (values > 0).all():
            return PowerLaw(np.nan, np.nan)
        x, y = np.log(self.sizes), np.log(values)
        x = x - x.mean()
        slope = x @ y / (x @ x)
        residual = y - y.mean() - slope * x
        free = len(x) - 2
        # A line through two points has no residual that would say how good it is.
        return PowerLaw(float(slope), float(np.sqrt(residual @ residual / (free * (x @ x)))) if free > 0 else np.nan)

    @property
    def slope(self) -> float:
        """The exponent of the largest change of a loss."""
        return self.fit().slope

    @property
    def error(self) -> float:
        """The standard error of that exponent."""
        return self.fit().error

    def _values(self, quantity: str) -> np.ndarray:
        values = getattr(self, quantity) if quantity in QUANTITIES else None
        if values is None:
            known = [name for name in QUANTITIES if getattr(self, name) is not None]
            raise ValueError(f"`quantity` must be one of {', '.join(known)}, got {quantity!r}.")
        return values

    def to_xarray(self) -> "xr.Dataset":
        """A dataset with the dimensions `size`, `twin` and `probe`."""
        import xarray as xr

        dims = ("size", "twin", "probe")
        values = {name: getattr(self, name) for name in QUANTITIES if getattr(self, name) is not None}
        variables = {name: (dims[: v.ndim], v, {"long_name": QUANTITIES[name]}) for name, v in values.items()}
        coords = {"size": ("size", self.sizes, {"long_name": "samples"}), "changed": ("twin", self.changed)}
        if self.replacements is not None:
            coords["replacement"] = ("twin", self.replacements)
        attributes = {"kind": self.kind, "t1": self.t1}
        if self.step_size is not None:
            attributes["step_size"] = self.step_size
        return xr.Dataset(variables, coords=coords, attrs=attributes)

    def __str__(self) -> str:
        how = "the flow" if self.step_size is None else f"Euler's method, steps of {self.step_size:g},"
        change = "replaced" if self.kind == "replace-one" else "left out, and the weight 1/n of the others kept"
        lines = [
            f"One sample {change}; {how} until t = {self.t1:g}",
            "       n   largest |dl|      mean |dl|     distance",
        ]
        rows = zip(self.sizes, self.largest(), self.mean(), self.largest("distance"), strict=True)
        lines += [f"{n:8d}{largest:15.3e}{mean:15.3e}{distance:13.3e}" for n, largest, mean, distance in rows]
        return "\n".join([*lines, f"slope of the largest {self.fit()}, of the mean {self.fit(mean=True)}"])
