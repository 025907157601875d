"""A target is found, or the sentence says which part of it is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.study import place_in, resolve

SOURCE = """
import jax.numpy as jnp
import flowmod as fm
import {neighbour}

bowl = fm.GradientFlow(lambda y, args: jnp.sum(y**2) / 2)
swing = fm.InertialFlow(lambda q, args: jnp.sum(q["q"] ** 2) / 2, damping=1.0)
number = 3


def spiral(rate=1.0, *, twist):
    def field(t, y, args):
        return {{"x": -rate * y["x"] - twist * y["y"], "y": twist * y["x"] - rate * y["y"]}}

    return fm.VectorField(field)


def nothing():
    return None


def broken(rate=1.0):
    return rate / 0


class Boxed(fm.VectorField):
    box = ({{"x": 0.0}}, {{"x": 1.0}})

    def __init__(self):
        super().__init__(lambda t, y, args: {{"x": -y["x"]}})
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    neighbour = f"beside_{tmp_path.name}"
    (tmp_path / f"{neighbour}.py").write_text("")
    (tmp_path / "model.py").write_text(SOURCE.format(neighbour=neighbour))
    return "model.py"


def test_a_flow_in_a_file(file, tmp_path):
    for path in (file, tmp_path / file):
        target = resolve(f"{path}:bowl", {})
        assert isinstance(target.flow, fm.GradientFlow)
        assert target.name == f"{path}:bowl"
        assert (target.start, target.t1, target.box) == (None, None, None)


def test_a_function_that_makes_one_gets_the_settings(file):
    flow = resolve(f"{file}:spiral", {"twist": 2.0, "rate": 0.5}).flow
    velocity = flow.vector_field(0.0, {"x": jnp.asarray(1.0), "y": jnp.asarray(0.0)})
    assert jax.tree.map(float, velocity) == {"x": -0.5, "y": 2.0}


def test_a_class_serves_and_brings_its_box(file):
    assert resolve(f"{file}:Boxed", {}).box_from(()) == ({"x": 0.0}, {"x": 1.0})


@pytest.mark.parametrize(
    ("target", "settings", "complaint"),
    [
        ("toggle", {}, "'toggle' is no built-in model (toggle_switch, rosenbrock, double_pendulum)"),
        ("model.py", {}, "names a file only: write model.py:object"),
        ("other.py:bowl", {}, "other.py is not a Python file"),
        ("model.txt:bowl", {}, "model.txt is not a Python file"),
        ("model.py:bowls", {}, "has no object 'bowls': it has bowl, swing, spiral, nothing, broken, Boxed."),
        ("model.py:number", {}, "must be a flow or a function that returns one, got int"),
        ("model.py:nothing", {}, "must be a flow or a function that returns one, got NoneType"),
        ("model.py:bowl", {"rate": 1}, "`--set` needs a function that makes the flow"),
        ("model.py:spiral", {}, "missing a required argument: 'twist'. Its parameters: rate, twist."),
        ("model.py:nothing", {"rate": 1}, "Its parameters: none."),
        ("toggle_switch", {"b": 1}, "got an unexpected keyword argument 'b'. Its parameters: a1, a2, n, m."),
        ("toggle_switch", {"a1": -1}, "`a1` must be a number > 0, got -1"),
    ],
)
@pytest.mark.usefixtures("file")
def test_a_wrong_target_is_refused(target, settings, complaint):
    with pytest.raises(ValueError, match=r"`(TARGET|--set|a1)` ") as error:
        resolve(target, settings)
    assert complaint in str(error.value)


def test_the_place_of_an_error_in_the_users_file(file, tmp_path):
    line = SOURCE.splitlines().index("    return rate / 0") + 1
    for path in (file, tmp_path / file):
        with pytest.raises(ZeroDivisionError) as error:
            resolve(f"{path}:broken", {})
        assert place_in(f"{path}:broken", error.value) == f"{path}, line {line}"
    assert place_in("toggle_switch", error.value) is None
    assert place_in("other.py:bowl", error.value) is None


def test_the_place_of_a_syntax_error(tmp_path):
    (tmp_path / "bad.py").write_text("x = 1\ny = = 2\n")
    target = f"{tmp_path / 'bad.py'}:x"
    with pytest.raises(SyntaxError) as error:
        resolve(target, {})
    assert place_in(target, error.value) == f"{tmp_path / 'bad.py'}, line 2"


def test_a_start_like_the_default_one():
    target = resolve("toggle_switch", {})
    assert jax.tree.map(float, target.start_from(())) == {"u": 1.0, "v": 8.0}
    assert jax.tree.map(float, target.start_from(["v=2"])) == {"u": 1.0, "v": 2.0}
    for text in ('{"u": 1}', "[1, 2]", "u=[1, 2]"):
        with pytest.raises(ValueError, match=r"`--y0` must be a state like"):
            target.start_from([text])


def test_an_inertial_flow_starts_at_rest(file):
    target = resolve(f"{file}:swing", {})
    place, velocity = target.start_from(["q=[1, 2]"])
    assert place["q"].tolist() == [1, 2]
    assert velocity["q"].tolist() == [0, 0]
    assert jax.tree.map(np.shape, target.start_from(['[{"q": 1}, {"q": 2}]'])) == ({"q": ()}, {"q": ()})
    found = target.equilibria(target.box_from(["q=-1:2"]))
    assert [point.state["q"] for point in found] == [0.0]


def test_what_has_no_default_must_be_given(file):
    target = resolve(f"{file}:bowl", {})
    with pytest.raises(ValueError, match=r"`--y0` must be given for model.py:bowl"):
        target.start_from(())
    with pytest.raises(ValueError, match=r"`--t1` must be given for model.py:bowl"):
        target.end_time(None)
    with pytest.raises(ValueError, match=r"`--box` must be given for model.py:bowl"):
        target.box_from(())
    assert target.start_from(["[1, 2]"]).tolist() == [1, 2]
    assert target.end_time(3.0) == 3.0


def test_a_box_like_the_default_one():
    target = resolve("rosenbrock", {})
    assert target.box_from(["x=0:1"]) == ({"x": 0.0, "y": -1.0}, {"x": 1.0, "y": 3.0})
    with pytest.raises(ValueError, match=r"`--box` must be like"):
        target.box_from(["[[0, 0], [1, 1]]"])
