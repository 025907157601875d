"""What is proved on a region, with its proof: a result to read, to draw, to save and to check elsewhere."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..._typing import State
from ...simulate import write_whole
from ._file import fields_of, parts_of
from ._inputs import used_inputs, with_outputs, without_last_input
from ._program import Program
from .invariance import Invariance

VERIFIER = Path(__file__).with_name("verify.py")
"""The script that checks a saved certificate: `python verify.py FILE`, in any Python that has mpmath."""


@dataclass(frozen=True)
class Witness:
    """A point that shows what is not so.

    Attributes:
        point: (n,) the state, flat.
        state: the state, a tree like the box's corners.
        time: the time, where the flow or the metric depends on it, else `None`.
        rate: the contraction rate there, 1/time.
        direction: (n,) a direction in which distances grow there; `None` in the norms 1 and infinity.
        around: (2, inputs) the corners of a small box around the point, with the time where it counts, on all of which
            distances surely grow (or keep) in that direction: what disproves. `None` if nothing is disproved.
    """

    point: Float[np.ndarray, " n"]
    state: State
    time: float | None
    rate: float
    direction: Float[np.ndarray, " n"] | None
    around: Float[np.ndarray, "2 inputs"] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Certificate:
    """A contraction rate on a whole box, and the proof: what `certify` returns. `print` it for a paragraph.

    Attributes:
        status: `"proved"`, `"disproved"` or `"undecided"`.
        rate: the rate that is proved on the whole box, 1/time; positive if and only if the status is `"proved"`.
            Negative, it bounds how fast distances grow; `-inf` if nothing could be proved.
        upper: the smallest rate that was seen at a point of the box, in floats: no larger one can be proved.
        norm: 1, 2 or infinity.
        metric: in which metric, in words.
        flow: of which flow, in words.
        box: `(lower, upper)`, two trees like the state.
        corners: (2, n) the same, flat.
        times: `(t0, t1)`, where the flow or the metric depends on the time, else `None`.
        witness: where the rate is not positive, surely if the status is `"disproved"`; else the point of `upper`.
        reason: why the search ended.
        boxes: (boxes, 2, n) lower and upper corners of the boxes of the proof, which cover the region.
        spans: (boxes, 2) their spans of time; zeros where the time has no influence.
        bounds: (boxes,) the rate that is proved on each of them.
        frames: (boxes, n, n) the coordinates in which each of them is proved, in the norm 2.
        program: the entries of the pencil (norm 2) or of the generalised Jacobian, as a straight-line program.
        invariance: whether trajectories stay in the box, or `None` if that was not asked.
        leaves: name and shape of each leaf of the state, in `ravel_pytree` order.
    """

    status: str
    rate: float
    upper: float
    norm: float
    metric: str
    flow: str
    box: tuple[State, State]
    corners: Float[np.ndarray, "2 n"]
    times: tuple[float, float] | None
    witness: Witness | None
    reason: str
    boxes: Float[np.ndarray, "boxes 2 n"]
    spans: Float[np.ndarray, "boxes 2"]
    bounds: Float[np.ndarray, " boxes"]
    frames: Float[np.ndarray, "boxes n n"]
    program: Program
    invariance: Invariance | None
    leaves: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the state's numbers in `ravel_pytree` order: `u`, `weight[0,1]`, or `y` for a bare number."""
        return tuple(
            (label or "y") + (f"[{','.join(map(str, index))}]" if index else "")
            for label, shape in self.leaves
            for index in np.ndindex(shape)
        )

    @property
    def metric_program(self) -> Program | None:
        """The upper triangle of `M`, row by row, as a program of the state, and of the time if it moves with that.

        `None` unless the norm is 2: a certificate in the norm 1 or infinity is about a factor, and holds no `M`.
        """
        if self.norm != 2:
            return None
        n = len(self.names)
        count = n * (n + 1) // 2
        metric = with_outputs(self.program, self.program.outputs[count : 2 * count])  # `S` comes before `M`
        stands = metric.inputs > n and n not in used_inputs(metric)
        return without_last_input(metric) if stands else metric

    @property
    def constant_metric(self) -> bool:
        """Whether the metric is seen to be the same at all states and times: no input enters its program."""
        metric = self.metric_program
        return metric is not None and not used_inputs(metric)

    @property
    def witness_point(self) -> Float[np.ndarray, " n"] | None:
        """The state of the witness, flat."""
        return None if self.witness is None else self.witness.point

    @property
    def worst_box(self) -> Float[np.ndarray, "2 n"]:
        """The box of the proof on which least could be proved, (2, n)."""
        return self.boxes[int(np.argmin(self.bounds))]

    @property
    def margin(self) -> float:
        """What is proved on the worst box: a rate, 1/time, that misses zero by so much if it is negative."""
        return float(self.bounds.min())

    def save(self, path: str | Path) -> Path:
        """Write everything as JSON, whole or not at all: `flowmod verify FILE` checks it without flowmod or JAX.

        Args:
            path: a file that ends in .json.

        Returns:
            The path.

        Raises:
            ValueError: if the path ends in something else or can't be written.
        """
        path = Path(path)
        if path.suffix != ".json":
            raise ValueError(f"`path` must end in .json, got {path}.")
        text = json.dumps(parts_of(self), allow_nan=False)
        write_whole(path, lambda part: Path(part).write_text(text, encoding="utf-8"))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Certificate":
        """Read a saved certificate, equal to the bit; its trees are dicts by the names of their leaves.

        Nothing is checked but the form: `flowmod verify FILE` checks the proof.

        Raises:
            ValueError: if there is no such file, or it is no certificate.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"`path` {path} is not a file: check the name, or save a certificate there first.")
        try:
            fields = fields_of(json.loads(path.read_text(encoding="utf-8")))
            witness = fields.pop("witness")
            return cls(**fields, witness=witness and Witness(**witness))
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"`path` {path} is no certificate, or a damaged one: {error!r}.") from error

    def __repr__(self) -> str:
        return f"Certificate({self.status}, rate={self.rate:.6g}, {len(self.bounds)} boxes)"

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} in [{low:.6g}, {high:.6g}]" for name, low, high in zip(self.names, *self.corners, strict=True)
        )
        when = "" if self.times is None else f", for t in [{self.times[0]:.6g}, {self.times[1]:.6g}]"
        lines = [
            f"{self.status}: {_CLAIMS[self.status].format(rate=self.rate)}",
            f"  where      {where}{when}",
            f"  distances  {_norm_text(self.norm)} of {self.metric}",
            f"  flow       {self.flow}",
            f"  proof      {len(self.bounds)} boxes; {self.reason}",
        ]
        if self.witness is not None:
            lines.append(f"  smallest   {_point_text(self.names, self.witness)}")
        if self.status != "proved":
            lines.append(f"  worst box  {_corners_text(self.worst_box)}: {_bound_text(self.margin)}")
        stays = "The rate holds while trajectories stay in the box, which was not asked (`invariant=True`)."
        lines.append(f"  {stays if self.invariance is None else self.invariance}")
        return "\n".join(lines)


_CLAIMS = {
    "proved": "all trajectories approach each other at a rate of at least {rate:.6g}",
    "disproved": "there is a point at which distances do not shrink",
    "undecided": "neither a positive rate nor its contrary could be proved",
}


def _norm_text(norm: float) -> str:
    return f"the norm {'infinity' if math.isinf(norm) else int(norm)}"


def _point_text(names: Sequence[str], witness: Witness) -> str:
    place = ", ".join(f"{name} = {x:.6g}" for name, x in zip(names, witness.point, strict=True))
    when = "" if witness.time is None else f", t = {witness.time:.6g}"
    return f"{place}{when}: the rate is {witness.rate:.6g}"


def _corners_text(box: np.ndarray) -> str:
    return " to ".join(np.array2string(corner, precision=6) for corner in box)


def _bound_text(bound: float) -> str:
    return f"a rate of {bound:.6g} is proved" if math.isfinite(bound) else "no rate is proved"
