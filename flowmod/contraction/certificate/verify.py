"""Check the file of a certificate by another route than the one that made it: a script, `python verify.py FILE`.

It needs the standard library and mpmath, and knows nothing of flowmod or JAX: it reads the program and the boxes from
the file, evaluates and differentiates the program by rules of its own (`verify_intervals.py`, in 30 digits), finds out
by itself where the field may jump, and decides definiteness by an interval `L D L^T` factorisation (Sylvester) where
the file's maker used diagonal dominance. What is not seen to hold on a box of the file may be seen on its halves.
It does *not* check that the programs are the user's flow in the user's metric: the maker's translation and JAX are
trusted with that.

Exit codes: 0 if everything that the file claims holds, 1 if something does not (each line says where), 2 if there is
no such file, it is no JSON, or mpmath is missing.
"""

import functools
import hashlib
import itertools
import json
import sys

# The folder of a script is on the path; as a module of a package this file is not meant to be imported.
from verify_boxes import failure, gaps
from verify_form import misfits
from verify_intervals import ZERO, decoded, enclose, entrywise, evaluate, iv, total

FORMAT = "flowmod certificate 1"
MOST_PROBLEMS = 20
SECTIONS = ("claim", "program", "leaves", "invariance")


# --- definiteness ---


def _symmetric(n, values, offset):
    """The matrix of an upper triangle."""
    matrix = [[None] * n for _ in range(n)]
    entries = iter(values[offset : offset + n * (n + 1) // 2])
    for i in range(n):
        for j in range(i, n):
            matrix[i][j] = matrix[j][i] = next(entries)
    return matrix


def _in_frame(frame, matrix):
    """`Q^T A Q`."""
    columns = range(len(frame[0]))
    turned = [[_dot(row, frame, b) for b in columns] for row in matrix]
    return [[_dot([line[i] for line in frame], turned, j) for j in columns] for i in columns]


def _dot(row, columns, j):
    return total(a * line[j] for a, line in zip(row, columns, strict=True))


def _on_box(n, frame, form, weights):
    """`Q^T (w_S S + w_M M) Q` on a box; the slopes are added up before they are multiplied by the steps."""
    values, slopes = form
    half = n * (n + 1) // 2

    def matrix(entries):
        if None in entries[: 2 * half]:
            return None
        s, m = _symmetric(n, entries, 0), _symmetric(n, entries, half)
        mixed = [
            [weights[0] * a + weights[1] * b for a, b in zip(*rows, strict=True)] for rows in zip(s, m, strict=True)
        ]
        return _in_frame(frame, mixed)

    result = matrix(values)
    for entries, step in slopes:
        slope = matrix(entries)
        if result is None or slope is None:
            return None
        result = [[a + b * step for a, b in zip(*rows, strict=True)] for rows in zip(result, slope, strict=True)]
    return result


def _is_positive_definite(matrix):
    """Whether every symmetric matrix in an interval matrix is positive definite, by the pivots of `L D L^T`."""
    if matrix is None:
        return False
    matrix, n = [list(row) for row in matrix], len(matrix)
    for k in range(n):
        pivot = matrix[k][k]
        if not pivot.a > 0:
            return False
        for i in range(k + 1, n):
            for j in range(i, n):
                product = matrix[k][i] ** 2 if i == j else matrix[k][i] * matrix[k][j]
                matrix[i][j] = matrix[j][i] = matrix[i][j] - product / pivot
    return True


def _log_norm(norm, n, entries):
    """Bounds of the sum of every column (norm 1) or row (infinity) of `F`: diagonal and moduli of the rest."""
    if None in entries:
        return None
    rows = [entries[n * i : n * (i + 1)] for i in range(n)]
    lines = rows if norm == "inf" else [list(column) for column in zip(*rows, strict=True)]
    return [line[i] + total(abs(x) for j, x in enumerate(line) if j != i) for i, line in enumerate(lines)]


# --- what the file claims ---


def _problem_of_leaf(data, bound, frame, lower, upper):
    """Why the rate `bound` does not hold on a box, or `None`."""
    claim, n = data["claim"], len(data["claim"]["names"])
    forms = enclose(data["program"], lower, upper)
    beside = forms[0][0][_entries(claim) :]
    if None in beside:
        return "the field or the metric is not proved to be defined"
    if any(condition.delta != 0 for condition in beside[n + n * n :]):
        return "a condition changes, so that the field or the metric may jump,"
    if claim["norm"] != 2:
        sums = _log_norm(claim["norm"], n, entrywise(forms)[: n * n])
        holds = sums is not None and all(line.b <= -iv.mpf(bound) for line in sums)
        return None if holds else f"the rate {bound!r} is not proved"
    frame = [[iv.mpf(entry) for entry in row] for row in frame]
    if not any(_is_positive_definite(_on_box(n, frame, form, (ZERO, iv.mpf(1)))) for form in forms):
        return "the metric is not proved to be positive definite"
    weights = (iv.mpf(-1), -iv.mpf(bound))
    if not any(_is_positive_definite(_on_box(n, frame, form, weights)) for form in forms):
        return f"the rate {bound!r} is not proved"
    return None


def _problem_of_witness(data):
    """Why the witness does not show a rate that is not positive, or `None`."""
    claim, witness = data["claim"], data["claim"]["witness"]
    if witness is None or witness["around"] is None:
        return "there is no box around it"
    if _outside(claim, witness["point"]):
        return "it is outside of the box"
    low, high = witness["around"]
    if not all(a <= x <= b for a, x, b in zip(low, witness["point"], high, strict=True)) or _apart(claim, low, high):
        return "the box around it is not around it, or shares no more than a side with the region"
    if claim["norm"] == 2 and not any(witness["direction"] or []):
        return "it has no direction"
    return failure(functools.partial(_problem_of_growth, data), low, high)


def _problem_of_growth(data, lower, upper):
    """Why distances may shrink somewhere in a box, along the direction of the witness, or `None`."""
    claim, n = data["claim"], len(data["claim"]["names"])
    forms = enclose(data["program"], lower, upper)
    if None in forms[0][0][_entries(claim) :]:
        return "the field or the metric is not proved to be defined there"
    if claim["norm"] != 2:
        sums = _log_norm(claim["norm"], n, entrywise(forms)[: n * n])
        return None if sums is not None and any(line.a >= 0 for line in sums) else "no row or column grows there"
    identity = [[iv.mpf(int(i == j)) for j in range(n)] for i in range(n)]
    if not any(_is_positive_definite(_on_box(n, identity, form, (ZERO, iv.mpf(1)))) for form in forms):
        return "the metric is not proved to be positive definite there"
    direction = [[iv.mpf(x)] for x in claim["witness"]["direction"]]
    growths = [_on_box(n, direction, form, (iv.mpf(1), ZERO)) for form in forms]
    grows = any(growth is not None and growth[0][0].a >= 0 for growth in growths)
    return None if grows else "distances along its direction are not proved to grow"


def _entries(claim):
    """How many outputs the matrices have: `S` and `M`, or `F`; then come field, metric or factor, and conditions."""
    n = len(claim["names"])
    return n * (n + 1) if claim["norm"] == 2 else n * n


def _outside(claim, point):
    return not all(low <= x <= high for low, x, high in zip(claim["lower"], point, claim["upper"], strict=True))


def _apart(claim, lower, upper):
    """Whether a box shares no inner point with the region."""
    sides = zip(lower, upper, claim["lower"], claim["upper"], strict=True)
    return not all(max(low, start) < min(high, end) for low, high, start, end in sides)


def _problems_of_leaves(data):
    claim, leaves = data["claim"], data["leaves"]
    yield from (f"leaves: {gap}" for gap in gaps(claim["lower"], claim["upper"], _named("leaf", leaves)))
    if claim["rate"] is None:
        return
    for index, (name, lower, upper) in enumerate(_named("leaf", leaves)):
        bound = leaves["bounds"][index]
        if bound is None or not bound >= claim["rate"]:
            yield f"claim: the rate {claim['rate']!r} is above what {name} claims, {bound!r}"
            continue
        frame = leaves["frames"][index] if claim["norm"] == 2 else None
        problem = _told(failure, functools.partial(_problem_of_leaf, data, bound, frame), lower, upper)
        if problem:
            yield f"{name}: {problem} on the box {lower} to {upper}"


def _named(kind, part):
    return [(f"{kind} {k}", *corners) for k, corners in enumerate(zip(part["lower"], part["upper"], strict=True))]


def _problems_of_claim(data):
    claim = data["claim"]
    status, rate, seen = claim["status"], claim["rate"], claim["seen"]
    if (status == "proved") != (rate is not None and rate > 0):
        yield f"claim: proved means a rate above 0, but the status is {status} and the rate {rate!r}"
    if claim["witness"] is not None and _outside(claim, claim["witness"]["point"]):
        yield "witness: it is outside of the box"
    if status == "disproved":
        problem = _told(_problem_of_witness, data)
        if problem:
            yield f"witness: {problem}"
    if rate is not None and seen is not None and rate > seen:
        yield f"claim: the rate {rate!r} is above the one seen at a point, {seen!r}"


def _problems_of_invariance(data):
    invariance = data["invariance"]
    if invariance is None or invariance["status"] == "undecided":
        return
    if invariance["status"] == "disproved":
        problem = _told(_problem_of_escape, data)
        if problem:
            yield f"invariance: {problem}"
        return
    strict = {(axis, side): True for axis in range(len(data["claim"]["names"])) for side in ("lower", "upper")}
    for index, face in enumerate(invariance["faces"]):
        for strictly in (True, False):
            check = functools.partial(_problem_of_face, invariance["program"], face, strictly)
            problem = _told(failure, check, face["lower"], face["upper"])
            if problem is None:
                break
            strict[face["axis"], face["side"]] = False
        else:
            yield f"face {index}: {problem} on {face['lower']} to {face['upper']}"
    yield from _gaps_of_faces(data, strict)
    yield from _problems_of_pieces(data, strict)


def _gaps_of_faces(data, sides):
    claim, faces = data["claim"], data["invariance"]["faces"]
    for axis, side in sides:
        lower, upper = list(claim["lower"]), list(claim["upper"])
        lower[axis] = upper[axis] = claim[side][axis]
        here = [index for index, face in enumerate(faces) if (face["axis"], face["side"]) == (axis, side)]
        named = [(f"face {index}", faces[index]["lower"], faces[index]["upper"]) for index in here]
        yield from (f"invariance: {gap}" for gap in gaps(lower, upper, named))


def _problem_of_face(program, face, strictly, lower, upper):
    outward = _outward_on(program, face, lower, upper)
    inward = outward is not None and (outward.b < 0 or (outward.b == 0 and not strictly))
    return None if inward else "the field is not proved to point inward"


def _problems_of_pieces(data, strict):
    """Whether the field is Lipschitz on the region, and a little beyond the faces where it is not strictly inward."""
    claim, pieces, n = data["claim"], data["invariance"]["pieces"], len(data["claim"]["names"])
    named = _named("piece", pieces)
    lower = [min(sides) for sides in zip(claim["lower"], *pieces["lower"], strict=True)]
    upper = [max(sides) for sides in zip(claim["upper"], *pieces["upper"], strict=True)]
    yield from (f"invariance: {gap}" for gap in gaps(lower, upper, named))
    for (axis, side), inward in strict.items():
        beyond = lower[axis] < claim["lower"][axis] if side == "lower" else upper[axis] > claim["upper"][axis]
        if not (inward or beyond):
            yield f"invariance: nothing is known of the field beyond the {side} face of {claim['names'][axis]}"
    check = functools.partial(_problem_of_piece, data["invariance"]["program"], n)
    for name, low, high in named:
        problem = _told(failure, check, low, high)
        if problem:
            yield f"{name}: {problem} on the box {low} to {high}"


def _problem_of_piece(program, n, lower, upper):
    """Why the field may not be Lipschitz by the state on a box, or `None`."""
    box = [iv.mpf(pair) for pair in zip(lower, upper, strict=True)]
    values, slopes = evaluate(program, box, n)
    if any(value is None or value.delta != 0 for value in values[n:]):
        return "a condition changes, so that the field may jump,"
    if None in values or any(slope is None or None in slope.values() for slope in slopes[:n]):
        return "the slopes of the field are not proved to be finite"
    return None


def _outward_on(program, face, lower, upper):
    """The component of the field that points out of the box, on a part of one face or around it."""
    value = entrywise(enclose(program, lower, upper))[face["axis"]]
    return value if value is None or face["side"] == "upper" else -value


def _problem_of_escape(data):
    claim, face = data["claim"], data["invariance"]["witness"]
    if face is None:
        return "there is no witness"
    low, high, axis, side = face["lower"], face["upper"], face["axis"], face["side"]
    if _apart(claim, low, high) or not low[axis] < claim[side][axis] < high[axis]:
        return "its witness is not around a point of that face"

    def check(lower, upper):
        outward = _outward_on(data["invariance"]["program"], face, lower, upper)
        return None if outward is not None and outward.a > 0 else "the field is not proved to leave the box there"

    return failure(check, low, high)


def _told(check, *arguments):
    try:
        return check(*arguments)
    except Exception as error:  # whatever a file leads to is one sentence
        return f"it can't be evaluated ({type(error).__name__}: {error})"


# --- the file ---


def _digest(section):
    """The SHA-256 of a section: it says where a file was changed, and proves nothing."""
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()


def problems(data):
    """Everything that is wrong with the content of a file, one sentence each, the place first."""
    try:
        yield from _problems(data)
    except Exception as error:  # whatever a file leads to is one sentence
        yield f"the file is damaged ({type(error).__name__}: {error})"


def _problems(data):
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        yield f"format: it must be {FORMAT!r}"
        return
    digests = data.get("digests")
    for name in SECTIONS:
        if name not in data or not isinstance(digests, dict) or digests.get(name) != _digest(data[name]):
            yield f"{name}: this part was changed after the file was written"
    wrong = list(misfits(data))
    yield from wrong
    if wrong:
        return
    n, entries, invariance = len(data["claim"]["names"]), _entries(data["claim"]), data["invariance"]
    data = {**data, "program": decoded(data["program"], entries + n + n * n, entries)}
    if invariance is not None:
        data["invariance"] = {**invariance, "program": decoded(invariance["program"], n, 0)}
    for check in (_problems_of_claim, _problems_of_leaves, _problems_of_invariance):
        yield from check(data)


def _summary(data):
    """What was verified, and what was not."""
    claim = data["claim"]
    rate = "no rate" if claim["rate"] is None else f"the rate {claim['rate']:.6g}"
    lines = [f"verified: {claim['status']}, {rate} on {len(data['leaves']['lower'])} boxes that cover the region"]
    if data["invariance"]:
        lines.append(f"forward invariance of the box: {data['invariance']['status']}")
    lines.append(
        "Not checked: that the programs in the file are those of your flow and metric; its words; the smallest rate "
        "that was seen, and where."
    )
    return "\n".join(lines)


def main(path):
    """Check a file, print what was found, return the exit code."""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError) as error:
        print(f"{path} can't be read: {error}", file=sys.stderr)
        return 2
    found = list(itertools.islice(problems(data), MOST_PROBLEMS + 1))
    for problem in found[:MOST_PROBLEMS]:
        print(problem, file=sys.stderr)
    if len(found) > MOST_PROBLEMS:
        print("and more", file=sys.stderr)
    if not found:
        print(_summary(data))
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python verify.py FILE", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
