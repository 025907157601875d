"""Colours that readers with any colour vision tell apart, also in print.

Reference: M. Okabe and K. Ito, "Color universal design" (2008).
"""

LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours in order of contrast on white; black is kept for marks, yellow vanishes on paper."""

DASHES = ("-", "--", ":")
"""Once all colours are taken the next lines are dashed, then dotted."""

MOST_LINES = len(LINES) * len(DASHES)
"""So many lines can be told apart."""

INK = "#000000"
PAPER = "#FFFFFF"
MUTED = "#767676"
"""What carries no result: guides, streamlines, paths that end nowhere in particular."""


def line_colour(index: int) -> str:
    """The colour of the line with this index; -1 stands for none of the groups."""
    return MUTED if index < 0 else LINES[index % len(LINES)]
