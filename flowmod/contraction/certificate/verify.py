"""Check the file of a certificate by another route than the one that made it: a script, `python verify.py FILE`.

It needs the standard library and mpmath, and knows nothing of flowmod or JAX: it reads the program and the boxes from
the file, evaluates and differentiates the program by rules of its own (`verify_intervals.py`, in 30 digits), and
decides definiteness by an interval `L D L^T` factorisation (Sylvester) where the file's maker used diagonal dominance.
It does *not* check that the program is the user's flow in the user's metric: the maker's translation and JAX are
trusted with that.

Exit codes: 0 if everything that the file claims holds, 1 if something does not (each line says where), 2 if there is
no such file, it is no JSON, or mpmath is missing.
"""

import hashlib
import json
import math
import sys

# The folder of a script is on the path; as a module of a package this file is not meant to be imported.
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
    n = len(matrix)
    turned = [[_dot(row, frame, b) for b in range(n)] for row in matrix]
    return [[_dot([line[i] for line in frame], turned, j) for j in range(n)] for i in range(n)]


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


def _problem_of_leaf(data, lower, upper, bound, frame):
    """Why the rate `bound` does not hold on a box, or `None`."""
    claim, n = data["claim"], len(data["claim"]["names"])
    forms = enclose(data["program"], lower, upper)
    entries = n * (n + 1) if claim["norm"] == 2 else n * n
    beside = forms[0][0][entries:]
    if None in beside:
        return "the field or the metric is not proved to be defined"
    if any(condition.delta != 0 for condition in beside[n + n * n :]):
        return "a condition changes, so that the field or the metric may jump,"
    if claim["norm"] != 2:
        sums = _log_norm(claim["norm"], n, entrywise(forms)[:entries])
        return (
            None
            if sums is not None and all(line.b <= -iv.mpf(bound) for line in sums)
            else f"the rate {bound!r} is not proved"
        )
    frame = [[iv.mpf(entry) for entry in row] for row in frame]
    if not any(_is_positive_definite(_on_box(n, frame, form, (ZERO, iv.mpf(1)))) for form in forms):
        return "the metric is not proved to be positive definite"
    weights = (iv.mpf(-1), -iv.mpf(bound))
    if not any(_is_positive_definite(_on_box(n, frame, form, weights)) for form in forms):
        return f"the rate {bound!r} is not proved"
    return None


def _problem_of_witness(data):
    """Why the witness does not show a rate that is not positive, or `None`."""
    claim, witness, n = data["claim"], data["claim"]["witness"], len(data["claim"]["names"])
    point = witness["point"]
    if not all(low <= x <= high for low, x, high in zip(claim["lower"], point, claim["upper"], strict=True)):
        return "it is outside of the box"
    values, _ = evaluate(data["program"], [iv.mpf(x) for x in point], False)
    if claim["norm"] != 2:
        sums = _log_norm(claim["norm"], n, values[: n * n])
        return None if sums is not None and any(line.a >= 0 for line in sums) else "no row or column grows there"
    if None in values[: n * (n + 1)]:
        return "the pencil is not defined there"
    direction = [[iv.mpf(x)] for x in witness["direction"]]
    s, m = _symmetric(n, values, 0), _symmetric(n, values, n * (n + 1) // 2)
    if not _is_positive_definite(m):
        return "the metric is not proved to be positive definite there"
    growth = _dot([row[0] for row in direction], [[_dot(line, direction, 0)] for line in s], 0)
    return None if growth.a >= 0 else "distances along its direction are not proved to grow"


def _gaps(lower, upper, boxes):
    """Where boxes don't cover a box by repeated halving along one input, exactly: places and what is wrong there.

    `boxes` are `(name, lower, upper)`. A cut must not go through any of them.
    """
    regions, found = [(tuple(lower), tuple(upper), boxes)], []
    while regions:
        lower, upper, inside = regions.pop()
        place = f"{list(lower)} to {list(upper)}"
        if not inside:
            found.append(f"nothing covers the box {place}")
            continue
        if len(inside) == 1:
            name, low, high = inside[0]
            if tuple(low) != lower or tuple(high) != upper:
                found.append(f"{name} must be the box {place}, but is {list(low)} to {list(high)}")
            continue
        cut = _cut_between(lower, upper, inside)
        if cut is None:
            found.append(f"{', '.join(name for name, _, _ in inside[:3])} overlap in the box {place}")
            continue
        axis, value = cut
        left, right = list(upper), list(lower)
        left[axis] = right[axis] = value
        regions.append((lower, tuple(left), [box for box in inside if box[2][axis] <= value]))
        regions.append((tuple(right), upper, [box for box in inside if box[2][axis] > value]))
    return found


def _cut_between(lower, upper, boxes):
    """An input and a number between the box's sides that no box goes across, as near to the middle as there is one."""
    best = None
    for axis, (low, high) in enumerate(zip(lower, upper, strict=True)):
        reached = low
        for start, end in sorted((box[1][axis], box[2][axis]) for box in boxes):
            if low < reached <= start and reached < high:
                off = abs((reached - low) / (high - low) - 0.5)
                best = min(best or (math.inf, 0, 0.0), (off, axis, reached))
            reached = max(reached, end)
    return best and best[1:]


def _problems_of_leaves(data):
    claim, leaves = data["claim"], data["leaves"]
    boxes = list(zip(leaves["lower"], leaves["upper"], strict=True))
    named = [(f"leaf {index}", lower, upper) for index, (lower, upper) in enumerate(boxes)]
    yield from (f"leaves: {gap}" for gap in _gaps(claim["lower"], claim["upper"], named))
    if claim["rate"] is None:
        return
    for index, (lower, upper) in enumerate(boxes):
        bound = leaves["bounds"][index]
        if bound is None or not bound >= claim["rate"]:
            yield f"claim: the rate {claim['rate']!r} is above what leaf {index} claims, {bound!r}"
            continue
        frame = leaves["frames"][index] if claim["norm"] == 2 else None
        problem = _told(_problem_of_leaf, data, lower, upper, bound, frame)
        if problem:
            yield f"leaf {index}: {problem} on the box {lower} to {upper}"


def _problems_of_claim(data):
    claim = data["claim"]
    status, rate, seen = claim["status"], claim["rate"], claim["seen"]
    if status not in ("proved", "disproved", "undecided"):
        yield f"claim: there is no status {status!r}"
    if status == "proved" and not (rate is not None and rate > 0):
        yield f"claim: proved means a rate above 0, but it is {rate!r}"
    if status == "disproved":
        problem = _told(_problem_of_witness, data)
        if problem:
            yield f"witness: {problem}"
    if rate is not None and seen is not None and rate > seen:
        yield f"claim: the rate {rate!r} is above the one seen at a point, {seen!r}"


def _problems_of_invariance(data):
    claim, invariance = data["claim"], data["invariance"]
    if invariance is None:
        return
    n, faces = len(claim["names"]), invariance["faces"]
    if invariance["status"] == "disproved":
        problem = _told(_problem_of_escape, data)
        if problem:
            yield f"invariance: {problem}"
    if invariance["status"] != "proved":
        return
    for axis in range(n):
        for side in ("lower", "upper"):
            lower, upper = list(claim["lower"]), list(claim["upper"])
            lower[axis] = upper[axis] = claim[side][axis]
            here = [index for index, face in enumerate(faces) if (face["axis"], face["side"]) == (axis, side)]
            named = [(f"face {index}", faces[index]["lower"], faces[index]["upper"]) for index in here]
            yield from (f"invariance: {gap}" for gap in _gaps(lower, upper, named))
    for index, face in enumerate(faces):
        outward = _outward_on(invariance["program"], face)
        if outward is None or outward.b > 0:
            yield f"face {index}: the field is not proved to point inward on {face['lower']} to {face['upper']}"


def _outward_on(program, face):
    """The component of the field that points out of the box, on one face."""
    value = entrywise(enclose(program, face["lower"], face["upper"]))[face["axis"]]
    return value if value is None or face["side"] == "upper" else -value


def _problem_of_escape(data):
    claim, face = data["claim"], data["invariance"]["witness"]
    point, axis, side = face["lower"], face["axis"], face["side"]
    inside = all(low <= x <= high for low, x, high in zip(claim["lower"], point, claim["upper"], strict=True))
    if not inside or point[axis] != claim[side][axis]:
        return "the point is not on the side of the box"
    outward = _outward_on(data["invariance"]["program"], {**face, "lower": point, "upper": point})
    return None if outward is not None and outward.a > 0 else "the field is not proved to leave the box there"


def _told(check, *arguments):
    try:
        return check(*arguments)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"it can't be evaluated ({type(error).__name__}: {error})"


# --- the file ---


def _digest(section):
    """The SHA-256 of a section: it says where a file was changed, and proves nothing."""
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()


def problems(data):
    """Everything that is wrong with the content of a file, one sentence each, the place first."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        yield f"format: it must be {FORMAT!r}"
        return
    for name in SECTIONS:
        if name not in data or data.get("digests", {}).get(name) != _digest(data[name]):
            yield f"{name}: this part was changed after the file was written"
    try:
        data = {**data, "program": decoded(data["program"])}
        if data["invariance"]:
            data["invariance"] = {**data["invariance"], "program": decoded(data["invariance"]["program"])}
        for check in (_problems_of_claim, _problems_of_leaves, _problems_of_invariance):
            yield from check(data)
    except (LookupError, TypeError, ValueError) as error:
        yield f"the file is damaged ({type(error).__name__}: {error})"


def _summary(data):
    """What was verified, and what was not."""
    claim = data["claim"]
    rate = "no rate" if claim["rate"] is None else f"the rate {claim['rate']:.6g}"
    lines = [f"verified: {claim['status']}, {rate} on {len(data['leaves']['lower'])} boxes that cover the region"]
    if data["invariance"]:
        lines.append(f"forward invariance of the box: {data['invariance']['status']}")
    lines.append("Not checked: that the program in the file is that of your flow and metric.")
    return "\n".join(lines)


def main(path):
    """Check a file, print what was found, return the exit code."""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError) as error:
        print(f"{path} can't be read: {error}", file=sys.stderr)
        return 2
    found = list(problems(data))
    for problem in found[:MOST_PROBLEMS]:
        print(problem, file=sys.stderr)
    if len(found) > MOST_PROBLEMS:
        print(f"and {len(found) - MOST_PROBLEMS} more", file=sys.stderr)
    if not found:
        print(_summary(data))
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python verify.py FILE", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
