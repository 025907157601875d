"""Boxes that cover a box, and a check on a box that may be halved: geometry for `verify.py`, in exact comparisons."""

import math

MOST_HALVINGS = 6


def gaps(lower, upper, boxes):
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
                off = abs((reached / 2 - low / 2) / (high / 2 - low / 2) - 0.5)
                best = min(best or (math.inf, 0, 0.0), (off, axis, reached))
            reached = max(reached, end)
    return best and best[1:]


def failure(check, lower, upper, halvings=MOST_HALVINGS):
    """Why a check, `check(lower, upper)`, fails on a box, or `None`: it may also hold on both halves, and so on.

    The maker of a file has narrower enclosures of some programs than there are here, and these get narrower with the
    box. A check that fails everywhere is given up after `halvings + 1` boxes: it must hold on the first half first.
    """
    problem = check(lower, upper)
    if problem is None or not halvings:
        return problem
    axis = max(range(len(lower)), key=lambda k: upper[k] / 2 - lower[k] / 2)
    middle = lower[axis] / 2 + upper[axis] / 2
    if not lower[axis] < middle < upper[axis]:
        return problem
    left, right = list(upper), list(lower)
    left[axis] = right[axis] = middle
    holds = all(failure(check, *half, halvings - 1) is None for half in ((lower, left), (right, upper)))
    return None if holds else problem
