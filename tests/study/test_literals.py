"""What is written on a command line means what it looks like, or is refused with the option's name."""

import jax
import numpy as np
import pytest

from flowmod.study import literals


def test_settings_are_numbers_where_they_look_like_numbers():
    found = literals.settings("--set", ["n=2", "a1=156.25", "small=1e-3", "kind=soft", "flag=true", " b = 3 "])
    assert found == {"n": 2, "a1": 156.25, "small": 1e-3, "kind": "soft", "flag": True, "b": 3}
    assert isinstance(found["n"], int)


@pytest.mark.parametrize("pair", ["a1", "=3", "a1=", ""])
def test_a_setting_without_name_or_value_is_refused(pair):
    with pytest.raises(ValueError, match=r"`--set` must be like --set name=value"):
        literals.settings("--set", [pair])


def test_pairs_change_the_default_state():
    start = literals.state("--y0", ["v=2"], {"u": 1.0, "v": 8.0})
    assert start["u"] == 1.0
    assert start["v"] == 2.0
    assert start["v"].dtype == np.float64


def test_without_a_default_pairs_are_the_state():
    start = literals.state("--y0", ["x=1", "w=[1, 2]"])
    assert jax.tree.map(np.shape, start) == {"x": (), "w": (2,)}


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("[1, 2, 3]", (3,)),
        ("[[1, 2], [3, 4]]", (2, 2)),
        ('{"u": 1, "v": [0.5]}', {"u": (), "v": (1,)}),
        ('[{"q": 1}, {"q": 0}]', ({"q": ()}, {"q": ()})),
    ],
)
def test_json_states(text, shapes):
    start = literals.state("--y0", [text])
    assert jax.tree.map(np.shape, start) == shapes
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(start))


@pytest.mark.parametrize(
    ("texts", "default", "complaint"),
    [
        (["w=1"], {"u": 1.0, "v": 2.0}, "has no entry 'w': the state has u, v"),
        (["u=fast"], {"u": 1.0}, 'must hold numbers, got "fast"'),
        (["u=true"], {"u": 1.0}, "must hold numbers, got true"),
        (["[1, [2, 3]]"], None, "must hold numbers"),
        (["[]"], None, "must hold numbers"),
        (["[1, 2"], None, "is not JSON"),
        (["u=1"], [1.0, 2.0], "must be JSON, because the state has no names"),
    ],
)
def test_a_wrong_state_is_refused(texts, default, complaint):
    with pytest.raises(ValueError, match=r"^`--y0` ") as error:
        literals.state("--y0", texts, default)
    assert complaint in str(error.value)


def test_boxes():
    assert literals.box("--box", ["u=0:10", "v=-1:1e2"]) == ({"u": 0.0, "v": -1.0}, {"u": 10.0, "v": 100.0})
    changed = literals.box("--box", ["u=0:10"], ({"u": 1.0, "v": 2.0}, {"u": 3.0, "v": 4.0}))
    assert changed == ({"u": 0.0, "v": 2.0}, {"u": 10.0, "v": 4.0})
    lower, upper = literals.box("--box", ["[[-1, -2], [1, 2]]"])
    assert lower.tolist() == [-1, -2]
    assert upper.tolist() == [1, 2]


@pytest.mark.parametrize("text", ["u=1", "u=low:high", "u=1:2:3", "[[1, 2]]", "[1, 2"])
def test_a_wrong_box_is_refused(text):
    with pytest.raises(ValueError, match=r"^`--box` "):
        literals.box("--box", [text])
