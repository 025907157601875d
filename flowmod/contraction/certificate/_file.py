"""The JSON of a certificate: what `verify.py` reads."""

import hashlib
import json
import math
from typing import Any

import numpy as np

from ._program import Program
from .invariance import Face, Invariance

FORMAT = "flowmod certificate 1"


def parts_of(certificate: Any) -> dict[str, Any]:
    """A certificate as plain dicts and lists, with a digest of each part that says where a file was changed."""
    timed = certificate.times is not None
    spans = certificate.spans[:, :, None] if timed else certificate.spans[:, :, None][..., :0]
    cells = np.concatenate([certificate.boxes, spans], axis=2)
    corners = [
        [*corner, *when] for corner, when in zip(certificate.corners.tolist(), _ends(certificate.times), strict=True)
    ]
    parts = {
        "claim": {
            "status": certificate.status,
            "rate": _finite(certificate.rate),
            "seen": _finite(certificate.upper),
            "norm": "inf" if math.isinf(certificate.norm) else int(certificate.norm),
            "metric": certificate.metric,
            "flow": certificate.flow,
            "reason": certificate.reason,
            "names": list(certificate.names),
            "leaves": [[label, list(shape)] for label, shape in certificate.leaves],
            "timed": timed,
            "lower": corners[0],
            "upper": corners[1],
            "witness": _witness(certificate.witness),
        },
        "program": certificate.program.to_json(),
        "leaves": {
            **_boxes(cells),
            "bounds": [_finite(bound) for bound in certificate.bounds.tolist()],
            "frames": certificate.frames.tolist(),
        },
        "invariance": _invariance(certificate.invariance),
    }
    return {"format": FORMAT, **parts, "digests": {name: _digest(part) for name, part in parts.items()}}


def fields_of(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of the certificate that a file holds, its witness as a dict."""
    if data["format"] != FORMAT:
        raise ValueError(f"its format is {data['format']!r}, not {FORMAT!r}")
    claim, n = data["claim"], len(data["claim"]["names"])
    corners = np.array([claim["lower"], claim["upper"]])
    program = Program.from_json(data["program"])
    if not program.inputs == corners.shape[1] == n + claim["timed"]:
        raise ValueError(f"its program has {program.inputs} inputs for {n} names and the box {corners.tolist()}")
    cells = _cells(data["leaves"], program.inputs)
    leaves = tuple((label, tuple(shape)) for label, shape in claim["leaves"])
    lower, upper = (_tree(leaves, corner[:n]) for corner in corners)
    return {
        **{name: claim[name] for name in ("status", "metric", "flow", "reason")},
        "rate": _number(claim["rate"], -math.inf),
        "upper": _number(claim["seen"], math.nan),
        "norm": math.inf if claim["norm"] == "inf" else claim["norm"],
        "box": (lower, upper),
        "corners": corners[:, :n],
        "times": tuple(corners[:, n].tolist()) if claim["timed"] else None,
        "witness": _witness_fields(claim["witness"], leaves, n),
        "boxes": cells[:, :, :n],
        "spans": cells[:, :, n] if claim["timed"] else np.zeros(cells.shape[:2]),
        "bounds": np.array([_number(bound, -math.inf) for bound in data["leaves"]["bounds"]]),
        "frames": np.array(data["leaves"]["frames"], dtype=float),
        "program": program,
        "invariance": _invariance_of(data["invariance"]),
        "leaves": leaves,
    }


def _ends(times: tuple[float, float] | None) -> list[list[float]]:
    return [[], []] if times is None else [[end] for end in times]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _digest(part: Any) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def _tree(leaves, flat: np.ndarray) -> Any:
    edges = np.cumsum([math.prod(shape) for _, shape in leaves])[:-1]
    parts = {label: part.reshape(shape)[()] for (label, shape), part in zip(leaves, np.split(flat, edges), strict=True)}
    return parts[""] if list(parts) == [""] else parts


def _witness(witness: Any) -> dict[str, Any] | None:
    if witness is None:
        return None
    when = [] if witness.time is None else [witness.time]
    direction = None if witness.direction is None else witness.direction.tolist()
    return {
        "point": witness.point.tolist() + when,
        "direction": direction,
        "around": None if witness.around is None else witness.around.tolist(),
        "rate": _finite(witness.rate),
    }


def _witness_fields(witness: dict[str, Any] | None, leaves, n: int) -> dict[str, Any] | None:
    if witness is None:
        return None
    point, direction = np.array(witness["point"]), witness["direction"]
    return {
        "point": point[:n],
        "state": _tree(leaves, point[:n]),
        "time": float(point[n]) if len(point) > n else None,
        "rate": _number(witness["rate"], math.nan),
        "direction": None if direction is None else np.array(direction),
        "around": None if witness["around"] is None else np.array(witness["around"]),
    }


def _invariance(invariance: Invariance | None) -> dict[str, Any] | None:
    if invariance is None:
        return None
    return {
        "status": invariance.status,
        "worst": _finite(invariance.worst),
        "program": invariance.program.to_json(),
        "faces": [_face(face) for face in invariance.faces],
        "pieces": _boxes(invariance.pieces),
        "witness": None if invariance.witness is None else _face(invariance.witness),
        "obstacle": None if invariance.obstacle is None else invariance.obstacle.tolist(),
    }


def _boxes(cells: np.ndarray) -> dict[str, Any]:
    return {"lower": cells[:, 0].tolist(), "upper": cells[:, 1].tolist()}


def _cells(data: dict[str, Any], inputs: int) -> np.ndarray:
    corners = (np.array(data[side], dtype=float).reshape(-1, inputs) for side in ("lower", "upper"))
    return np.stack(list(corners), axis=1)


def _face(face: Face) -> dict[str, Any]:
    return {**face._asdict(), "lower": face.lower.tolist(), "upper": face.upper.tolist()}


def _face_of(data: dict[str, Any]) -> Face:
    return Face(data["axis"], data["side"], np.array(data["lower"]), np.array(data["upper"]))


def _invariance_of(data: dict[str, Any] | None) -> Invariance | None:
    if data is None:
        return None
    program = Program.from_json(data["program"])
    return Invariance(
        data["status"],
        program,
        tuple(_face_of(face) for face in data["faces"]),
        _cells(data["pieces"], program.inputs),
        None if data["witness"] is None else _face_of(data["witness"]),
        None if data["obstacle"] is None else np.array(data["obstacle"]),
        _number(data["worst"], math.inf),
    )
