"""Whether a certificate's file has the form of one, so that `verify.py` reads numbers where numbers must be.

Lists of what is allowed are closed: a word that is not in them, and would make a check be skipped, is an error.
"""

import itertools
import math

STATUSES = ("proved", "disproved", "undecided")
NORMS = (1, 2, "inf")


def misfits(data):
    """What does not have the form of a certificate, one sentence each, the place first; not of operations."""
    claim = data["claim"]
    for name, fits in _CLAIM.items():
        if not isinstance(claim, dict) or name not in claim:
            yield f"claim: {name!r} is missing"
            return
        if not fits(claim[name]):
            yield f"claim: `{name}` can't be {claim[name]!r}"
            return
    n = len(claim["names"])
    inputs = n + claim["timed"]
    if claim["names"] != _names(claim["leaves"]):
        yield "claim: `names` are not those of the numbers in `leaves`"
    corners = claim["lower"], claim["upper"]
    if not (_is_box(*corners, inputs) and all(low < high for low, high in zip(*corners, strict=True))):
        yield f"claim: `lower` and `upper` must be two corners of {inputs} numbers ({n} names, timed {claim['timed']})"
    for name, part in (("program", data["program"]), ("invariance", (data["invariance"] or {}).get("program"))):
        if part is not None and part["inputs"] != inputs:
            yield f"{name}: it has {part['inputs']!r} inputs, but the box has {inputs}"
    if claim["witness"] is not None and not _is_witness(claim["witness"], n, inputs):
        yield "claim: `witness` must be a point of the box's dimensions, or null"
    yield from _misfits_of_leaves(data["leaves"], claim["norm"], n, inputs)
    if data["invariance"] is not None:
        yield from _misfits_of_invariance(data["invariance"], n, inputs)


def _names(leaves):
    return [
        (label or "y") + (f"[{','.join(map(str, index))}]" if index else "")
        for label, shape in leaves
        for index in itertools.product(*map(range, shape))
    ]


def _misfits_of_leaves(leaves, norm, n, inputs):
    if not _are_boxes(leaves, inputs):
        yield f"leaves: `lower` and `upper` must be lists of as many corners, each of {inputs} numbers"
        return
    count, bounds, frames = len(leaves["lower"]), leaves["bounds"], leaves["frames"]
    if not (isinstance(bounds, list) and len(bounds) == count and all(map(_is_number_or_none, bounds))):
        yield f"leaves: `bounds` must be {count} numbers or null"
    if norm == 2 and not (isinstance(frames, list) and len(frames) == count and all(_is_square(x, n) for x in frames)):
        yield f"leaves: `frames` must be {count} matrices of {n} x {n} numbers"


def _misfits_of_invariance(invariance, n, inputs):
    if invariance.get("status") not in STATUSES:
        yield f"invariance: `status` can't be {invariance.get('status')!r}"
        return
    faces, witness = invariance["faces"], invariance["witness"]
    if not (isinstance(faces, list) and all(_is_face(face, n, inputs) for face in faces)):
        yield "invariance: `faces` must be a list of parts of faces"
    if not _are_boxes(invariance["pieces"], inputs):
        yield f"invariance: `pieces` must be lists of as many corners, each of {inputs} numbers"
    if not (witness is None or _is_face(witness, n, inputs)):
        yield "invariance: `witness` must be a part of a face, or null"


# --- kinds of values ---


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_number_or_none(value):
    return value is None or _is_number(value)


def _are_numbers(values, count):
    return isinstance(values, list) and len(values) == count and all(map(_is_number, values))


def _is_square(rows, n):
    return isinstance(rows, list) and len(rows) == n and all(_are_numbers(row, n) for row in rows)


def _is_box(lower, upper, inputs):
    corners = _are_numbers(lower, inputs) and _are_numbers(upper, inputs)
    return corners and all(low <= high for low, high in zip(lower, upper, strict=True))


def _are_boxes(part, inputs):
    lower, upper = part["lower"], part["upper"]
    fits = isinstance(lower, list) and isinstance(upper, list) and len(lower) == len(upper)
    return fits and all(_is_box(*corners, inputs) for corners in zip(lower, upper, strict=True))


def _is_face(face, n, inputs):
    known = _is_whole(face["axis"]) and 0 <= face["axis"] < n and face["side"] in ("lower", "upper")
    return known and _is_box(face["lower"], face["upper"], inputs)


def _is_witness(witness, n, inputs):
    around, direction = witness["around"], witness["direction"]
    return (
        _are_numbers(witness["point"], inputs)
        and _is_number_or_none(witness["rate"])
        and (direction is None or _are_numbers(direction, n))
        and (around is None or (len(around) == 2 and _is_box(around[0], around[1], inputs)))
    )


def _are_leaves(value):
    return isinstance(value, list) and all(
        isinstance(label, str) and isinstance(shape, list) and all(_is_whole(size) and size >= 0 for size in shape)
        for label, shape in value
    )


def _is_text(value):
    return isinstance(value, str)


_CLAIM = {
    "status": lambda value: value in STATUSES,
    "rate": _is_number_or_none,
    "seen": _is_number_or_none,
    "norm": lambda value: value in NORMS and not isinstance(value, bool),
    "metric": _is_text,
    "flow": _is_text,
    "reason": _is_text,
    "names": lambda value: isinstance(value, list) and len(value) > 0 and all(map(_is_text, value)),
    "leaves": _are_leaves,
    "timed": lambda value: isinstance(value, bool),
    "lower": lambda value: isinstance(value, list),
    "upper": lambda value: isinstance(value, list),
    "witness": lambda value: value is None or isinstance(value, dict),
}
