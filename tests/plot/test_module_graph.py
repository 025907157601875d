"""The graph of modules: nodes carry rates, arrows point from cause to effect and carry gains."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

import flowmod as fm

RATES = [1.0, -0.5, 2.0]
GAINS = [[9.0, 0.3, 0.0], [0.6, 9.0, 0.0], [0.0, 0.15, 9.0]]


def arrows(ax):
    """From, to and width of each arrow, by the gain it stands for."""
    found = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    return [(*map(np.array, patch._posA_posB), patch.get_linewidth()) for patch in found]


def test_an_arrow_goes_from_the_cause_to_the_effect():
    ax = fm.plot.module_graph(RATES, GAINS, names=["a", "b", "c"])
    places = np.asarray(ax.collections[0].get_offsets())
    texts = {text.get_text(): text.get_position() for text in ax.texts}
    assert {"a", "b", "c", "1", "-0.5", "2", "0.3", "0.6", "0.15"} <= set(texts)
    drawn = {(int(np.argmin(np.sum((places - start) ** 2, 1))), int(np.argmin(np.sum((places - end) ** 2, 1)))): width
             for start, end, width in arrows(ax)}  # fmt: skip
    assert set(drawn) == {(1, 0), (0, 1), (1, 2)}, "the effect of j on i is an arrow from j to i; the diagonal has none"
    assert drawn[0, 1] > drawn[1, 0] > drawn[1, 2]
    np.testing.assert_allclose(drawn[0, 1] / drawn[1, 0], 2.0)


def test_what_limits_is_marked():
    ax = fm.plot.module_graph(RATES, GAINS, limiting=(1, 0))
    colours = [to_hex(patch.get_edgecolor()) for patch in ax.patches]
    assert colours[0] == "#d55e00", "the strongest is drawn first, and it is the one from 0 to 1"
    assert "#d55e00" not in colours[1:]
    ax = fm.plot.module_graph(RATES, GAINS, limiting=1)
    assert [to_hex(colour) for colour in ax.collections[0].get_edgecolors()] == ["#000000", "#d55e00", "#000000"]


@pytest.mark.parametrize("limiting", [("a", "b"), (np.int64(1), np.int64(0)), np.int32(1), "b"])
def test_what_limits_may_have_the_names_of_a_report(limiting):
    """A report's coupling is `(from, into)`, a composition's `(i, j)` the gain of `j` into `i`."""
    ax = fm.plot.module_graph(RATES, GAINS, names=["a", "b", "c"], limiting=limiting)
    arrow = [to_hex(patch.get_edgecolor()) == "#d55e00" for patch in ax.patches]
    nodes = [to_hex(colour) == "#d55e00" for colour in ax.collections[0].get_edgecolors()]
    assert (arrow, nodes) == (
        ([True, False, False], [False] * 3) if isinstance(limiting, tuple) else ([False] * 3, [False, True, False])
    )


def test_one_module_and_many():
    assert fm.plot.module_graph([0.5], [[0.0]]).texts[0].get_text() == "0.5"
    gains = np.random.default_rng(0).uniform(size=(9, 9))
    ax = fm.plot.module_graph(np.ones(9), gains)
    assert len(ax.patches) == 72
    assert len(ax.texts) == 2 * 9 + 12, "the numbers of all gains would lie on each other"


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"`rates` and `gains` must be \(N,\) and \(N, N\), got shapes \(3,\) and"):
        fm.plot.module_graph(RATES, [[0.0]])
    with pytest.raises(ValueError, match="`gains` finite and not negative"):
        fm.plot.module_graph([1.0, 1.0], [[0.0, -1.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="`rates` must be finite"):
        fm.plot.module_graph([1.0, np.nan], [[0.0, 1.0], [0.0, 0.0]])
    # No such module, no such name, no such gain, no pair, no number: and what a report of several times says.
    for wrong in (3, -1, "d", ("a", "d"), (0, 2), (2, 1, 0), 1.0, True, (), np.array([1, 0]), ("a", "b", "a")):
        with pytest.raises(ValueError, match=r"`limiting` must be one of the modules \['a', 'b', 'c'\]"):
            fm.plot.module_graph(RATES, GAINS, names=["a", "b", "c"], limiting=wrong)
    with pytest.raises(ValueError, match="`names` must be one for each of the 3 modules, got 1"):
        fm.plot.module_graph(RATES, GAINS, names=["a"])
