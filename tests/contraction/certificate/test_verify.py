"""A saved certificate is checked without flowmod, and whoever changes it is told where."""

import functools
import hashlib
import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import flowmod as fm
from flowmod.contraction import VERIFIER

BOX = {"u": 2.52, "v": 0.34}, {"u": 2.72, "v": 0.42}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    certificate = fm.certify(fm.bio.toggle_switch(3.0, 3.0), BOX, rtol=0.1, invariant=True)
    path = certificate.save(tmp_path_factory.mktemp("certificates") / "toggle.json")
    return certificate, path


@pytest.fixture
def verify(monkeypatch):
    monkeypatch.syspath_prepend(VERIFIER.parent)
    import verify  # pyright: ignore[reportMissingImports]

    return verify


def run(path):
    answer = subprocess.run([sys.executable, str(VERIFIER), str(path)], capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout, answer.stderr


def redigested(data):
    """As whoever knows of the digests would write it."""
    data["digests"] = {
        name: hashlib.sha256(json.dumps(data[name], sort_keys=True).encode()).hexdigest() for name in data["digests"]
    }
    return data


def test_a_certificate_comes_back_to_the_bit(saved, tmp_path):
    certificate, path = saved
    again = fm.Certificate.load(path)
    assert str(again) == str(certificate)
    assert again.program == certificate.program
    for name in ("boxes", "bounds", "frames", "corners", "spans"):
        np.testing.assert_array_equal(getattr(again, name), getattr(certificate, name))
    assert again.box[0]["u"] == BOX[0]["u"]
    assert again.save(tmp_path / "again.json").read_text() == path.read_text()


def test_the_script_runs_alone(saved):
    code, out, err = run(saved[1])
    assert code == 0, err
    assert out.startswith("verified: proved, the rate 0.")
    assert "forward invariance of the box: proved" in out
    assert "Not checked: that the program" in out


def test_the_script_imports_neither_jax_nor_flowmod(saved):
    script = (
        f"import sys, runpy; sys.argv = ['verify', {str(saved[1])!r}]; sys.path.insert(0, {str(VERIFIER.parent)!r})"
    )
    script += (
        f"\ntry: runpy.run_path({str(VERIFIER)!r}, run_name='__main__')\nexcept SystemExit as end: print(end.code)"
    )
    script += "\nprint(sorted({'jax', 'flowmod', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert answer.stdout.splitlines()[-2:] == ["0", "[]"]


def test_without_mpmath_the_cure_is_told(saved):
    script = f"import sys, runpy; sys.modules['mpmath'] = None; sys.path.insert(0, {str(VERIFIER.parent)!r})"
    script += f"\nrunpy.run_path({str(VERIFIER)!r}, run_name='__main__')"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "pip install 'flowmod[verify]'" in answer.stderr


def raise_the_rate(data):
    data["claim"]["rate"] *= 1.05


def raise_the_rate_and_every_bound(data):
    data["claim"]["rate"] *= 1.2
    data["claim"]["seen"] *= 2
    data["leaves"]["bounds"] = [1.2 * bound for bound in data["leaves"]["bounds"]]


def remove_a_leaf(data):
    for part in data["leaves"].values():
        del part[1]


def narrow_a_leaf(data):
    data["leaves"]["upper"][0][0] -= 1e-9


def widen_a_leaf(data):
    data["leaves"]["upper"][0][0] += 0.1


def widen_the_box(data):
    data["claim"]["upper"][0] += 0.5


def change_a_constant(data):
    index = next(i for i, (name, _, number) in enumerate(data["program"]["operations"]) if number == (3.0).hex())
    data["program"]["operations"][index][2] = (4.0).hex()


def change_an_operation(data):
    for operation in data["program"]["operations"]:
        operation[0] = "add" if operation[0] == "sub" else operation[0]


def use_an_unknown_operation(data):
    data["program"]["operations"][3][0] = "guess"


def forget_a_part(data):
    del data["claim"]["norm"]


def spoil_a_frame(data):
    data["leaves"]["frames"][0] = [[1.0, 1.0], [1.0, 1.0]]


def say_disproved(data):
    data["claim"]["status"] = "disproved"


def claim_that_a_point_disproves(data):
    """Say so with a box of any kind, and a direction in which nothing can be said to shrink."""
    point = data["claim"]["witness"]["point"]
    data["claim"].update(status="disproved", rate=None)
    data["claim"]["witness"].update(around=[[x - 1e-6 for x in point], [x + 1e-6 for x in point]])


def disprove_in_no_direction(data):
    claim_that_a_point_disproves(data)
    data["claim"]["witness"]["direction"] = [0.0, 0.0]


def disprove_elsewhere(data):
    claim_that_a_point_disproves(data)
    data["claim"]["witness"]["around"] = [[9.0, 9.0], [9.5, 9.5]]


def put_the_witness_outside(data):
    data["claim"]["witness"]["point"] = [5.0, 5.0]


def use_an_unknown_status(data):
    data["claim"]["status"] = "Proved"


def use_an_unknown_status_of_invariance(data):
    data["invariance"].update(status="Proved", faces=[])


def empty_the_invariance(data):
    data["invariance"] = {}


def use_an_unknown_norm(data):
    data["claim"]["norm"] = 7


def use_no_number(data):
    data["claim"]["rate"] = True


def say_timed(data):
    data["claim"]["timed"] = True


def swap_the_corners(data):
    for part in (data["claim"], data["leaves"]):
        part["lower"], part["upper"] = part["upper"], part["lower"]


def rename(data):
    data["claim"]["names"] = ["a", "b"]


def cut_the_program(data):
    data["program"]["outputs"] = data["program"]["outputs"][:6]


def forget_a_frame(data):
    data["leaves"]["frames"].pop()


def contradict(data):
    data["claim"]["status"] = "undecided"


def remove_the_pieces(data):
    data["invariance"]["pieces"] = {"lower": [], "upper": []}


def remove_a_face(data):
    del data["invariance"]["faces"][2]


def turn_the_field(data):
    data["invariance"]["program"]["outputs"] = data["invariance"]["program"]["outputs"][::-1]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (raise_the_rate, "is above what leaf 0 claims"),
        (raise_the_rate_and_every_bound, "leaf "),
        (remove_a_leaf, "leaves: leaf "),
        (narrow_a_leaf, "leaves: "),
        (widen_a_leaf, "leaves: leaf "),
        (widen_the_box, "leaves: "),
        (change_a_constant, "leaf "),
        (change_an_operation, "leaf "),
        (use_an_unknown_operation, "operation 3: there is no operation 'guess'"),
        (forget_a_part, "'norm'"),
        (spoil_a_frame, "leaf 0: the metric is not proved to be positive definite"),
        (say_disproved, "witness: there is no box around it"),
        (claim_that_a_point_disproves, "witness: distances along its direction are not proved to grow"),
        (disprove_in_no_direction, "witness: it has no direction"),
        (disprove_elsewhere, "witness: the box around it is not around it"),
        (put_the_witness_outside, "witness: it is outside of the box"),
        (use_an_unknown_status, "claim: `status` can't be 'Proved'"),
        (use_an_unknown_status_of_invariance, "invariance: `status` can't be 'Proved'"),
        (empty_the_invariance, "invariance: `status` can't be None"),
        (use_an_unknown_norm, "claim: `norm` can't be 7"),
        (use_no_number, "claim: `rate` can't be True"),
        (say_timed, "claim: `lower` and `upper` must be two corners of 3 numbers"),
        (swap_the_corners, "claim: `lower` and `upper` must be two corners of 2 numbers"),
        (rename, "claim: `names` are not those"),
        (cut_the_program, "it must have 12 outputs or more"),
        (forget_a_frame, "leaves: `frames` must be"),
        (contradict, "claim: proved means a rate above 0"),
        (remove_the_pieces, "invariance: nothing covers the box"),
        (remove_a_face, "invariance: nothing covers the box"),
        (turn_the_field, "face "),
    ],
)
def test_a_change_is_found_even_with_new_digests(saved, verify, change, complaint):
    data = json.loads(saved[1].read_text())
    before = data["digests"].copy()
    change(data)
    found = list(verify.problems(redigested(data)))
    assert any(complaint in problem for problem in found), found
    # And without new digests the part is named.
    data["digests"] = before
    assert any("this part was changed after the file was written" in problem for problem in verify.problems(data))


def test_a_jump_is_found(verify, tmp_path):
    flow = fm.VectorField(lambda t, y, args: -2 * y + jnp.sign(y - 0.3) * y)
    certificate = fm.certify(flow, (jnp.array([0.4]), jnp.array([1.0])))
    assert certificate.status == "proved"
    data = json.loads(certificate.save(tmp_path / "jump.json").read_text())
    for corner in (data["claim"]["lower"], data["leaves"]["lower"][0]):
        corner[0] = -1.0
    data["claim"]["rate"] = data["leaves"]["bounds"][0] = 0.5
    assert any("may jump" in problem for problem in verify.problems(redigested(data)))


def test_a_time_can_not_be_taken_away(verify, tmp_path):
    flow = fm.VectorField(lambda t, y, args: -2 * y + 0.1 * jnp.sin(t))
    path = fm.certify(flow, (jnp.array([-1.0]), jnp.array([1.0])), t=(0.0, 1.0)).save(tmp_path / "timed.json")
    data = json.loads(path.read_text())
    assert list(verify.problems(data)) == []
    data["claim"]["timed"] = False
    path.write_text(json.dumps(redigested(data)))
    assert any("two corners of 1 numbers" in problem for problem in verify.problems(data))
    with pytest.raises(ValueError, match="its program has 2 inputs"):
        fm.Certificate.load(path)


def test_a_disproof_is_one_on_a_box(verify, tmp_path):
    box = jnp.array([-1.0]), jnp.array([1.0])
    # -y, written with a kink at which one side of every derivative grows.
    kink = fm.VectorField(lambda t, y, args: 0.5 * y - 1.5 * (jnp.maximum(y, 0) - jnp.maximum(-y, 0)))
    for flow, truly in ((fm.VectorField(lambda t, y, args: y - y**3), True), (kink, False)):
        certificate = fm.certify(flow, box, max_boxes=100)
        assert (certificate.status == "disproved") == truly
        data = json.loads(certificate.save(tmp_path / "witness.json").read_text())
        assert list(verify.problems(data)) == []
        data["claim"].update(status="disproved", rate=None)
        witness = data["claim"]["witness"] = {"point": [0.0], "rate": -0.5, "direction": [1.0], "around": None}
        for around, problem in (
            ([[-1e-3], [1e-3]], None if truly else "not proved to grow"),
            ([[0.0], [0.0]], "shares no more than a side"),
            (None, "no box around it"),
            ([[-1.0], [1.0]], "not proved to grow"),
        ):
            witness["around"] = around
            found = list(verify.problems(redigested(data)))
            assert (found == []) if problem is None else (len(found) == 1 and problem in found[0]), found


def test_what_may_jump_is_not_taken_from_the_file(verify, tmp_path):
    flow = fm.VectorField(lambda t, y, args: jnp.where(y < 0, -y, 10 - y))
    certificate = fm.certify(flow, (jnp.array([-1.0]), jnp.array([1.0])), max_boxes=20)
    assert certificate.status == "undecided"
    data = json.loads(certificate.save(tmp_path / "jump.json").read_text())
    # The pencil, the field and the metric, without the conditions that come after them; and a proof for that.
    data["program"]["outputs"] = data["program"]["outputs"][:4]
    data["claim"].update(status="proved", rate=0.99, seen=1.0)
    data["leaves"] = {"lower": [[-1.0]], "upper": [[1.0]], "bounds": [0.99], "frames": [[[1.0]]]}
    found = list(verify.problems(redigested(data)))
    assert len(found) == 1
    assert "a condition changes" in found[0]


@pytest.mark.parametrize("damage", [[], None, 5, "text"])
def test_digests_that_are_none_are_told(saved, verify, damage):
    data = json.loads(saved[1].read_text()) | {"digests": damage}
    assert next(verify.problems(data)) == "claim: this part was changed after the file was written"


def test_any_damage_is_a_sentence(saved, verify):
    text = saved[1].read_text()
    for damage in (5, "x", [], None, {}, True):
        for part in ("claim", "program", "leaves", "invariance"):
            data = json.loads(text)
            for name in data[part]:
                data = json.loads(text)
                data[part][name] = damage
                assert all(isinstance(problem, str) for problem in verify.problems(redigested(data)))
            assert any(verify.problems(redigested(json.loads(text) | {part: damage}))) or (part, damage) == (
                "invariance",
                None,
            )


def test_a_leaf_is_halved_where_the_checker_sees_less_than_the_maker(verify, tmp_path, monkeypatch):
    flow = fm.VectorField(lambda t, y, args: -3 * y + jnp.exp(-((2 * y + 0.05) ** 2)))
    certificate = fm.certify(flow, (jnp.array([-0.3]), jnp.array([0.3])))
    assert certificate.status == "proved"
    data = json.loads(certificate.save(tmp_path / "halved.json").read_text())
    assert list(verify.problems(data)) == []
    monkeypatch.setattr(verify, "failure", functools.partial(verify.failure, halvings=0))
    assert any("is not proved on the box" in problem for problem in verify.problems(data))


def test_a_failing_check_is_given_up_soon(verify):
    asked = []

    def check(lower, upper):
        asked.append((tuple(lower), tuple(upper)))
        return "no"

    assert verify.failure(check, [0.0, 0.0], [1.0, 4.0]) == "no"
    assert len(asked) == 7
    assert asked[1] == ((0.0, 0.0), (1.0, 2.0))
    # The halves meet, and a box as narrow as two numbers has none.
    narrow = []
    assert (
        verify.failure(
            lambda low, high: None if high[0] - low[0] <= 0.25 else narrow.append(low) or "wide", [0.0], [1.0]
        )
        is None
    )
    assert narrow == [[0.0], [0.0], [0.5]]
    assert verify.failure(check, [1.0], [1.0 + 2**-52]) == "no"
    assert len(asked) == 8


def test_a_kink_on_the_side_of_a_box_is_decided(verify):
    intervals = sys.modules["verify_intervals"]
    right, left, both = (intervals.iv.mpf(pair) for pair in ([0, 1], [-1, 0], [-1, 1]))
    zero = intervals.ZERO

    def slopes(name, *operands):
        return [(float(x.a), float(x.b)) for x in intervals.PARTIALS[name](None, *operands)]

    assert [slopes("abs", x) for x in (right, left, both)] == [[(1, 1)], [(-1, -1)], [(-1, 1)]]
    assert slopes("max", right, zero) == slopes("min", left, zero) == [(1, 1), (0, 0)]
    assert slopes("max", zero, right) == slopes("min", zero, left) == [(0, 0), (1, 1)]
    assert slopes("max", both, zero) == slopes("min", both, zero) == [(0, 1), (0, 1)]


@pytest.mark.parametrize("low", [0.0, 0.3])
def test_a_kink_is_no_jump_for_the_checker_either(verify, tmp_path, low):
    def field(t, y, args):
        return -y - 0.2 * jnp.where(y > low, (y - low) ** 3, 0.3 * (y - low)) + 0.1 * jnp.sin(y[::-1])

    certificate = fm.certify(fm.VectorField(field), (jnp.full(2, low - 0.4), jnp.full(2, low + 0.5)), rtol=0.05)
    assert certificate.status == "proved"
    data = json.loads(certificate.save(tmp_path / "kink.json").read_text())
    assert any(operation[0] == "select" for operation in data["program"]["operations"])
    assert list(verify.problems(data)) == []


@pytest.mark.parametrize("norm", [1, jnp.inf])
def test_other_norms_are_checked(verify, tmp_path, norm):
    flow = fm.VectorField(lambda t, y, args: jnp.array([[-2.0, 1.0], [0.5, -1.5]]) @ jnp.tanh(y))
    certificate = fm.certify(flow, (jnp.full(2, -0.3), jnp.full(2, 0.3)), norm=norm, factor=np.array([1.0, 1.3]))
    data = json.loads(certificate.save(tmp_path / "norm.json").read_text())
    assert list(verify.problems(data)) == []
    raise_the_rate_and_every_bound(data)
    assert any(problem.startswith("leaf ") for problem in verify.problems(redigested(data)))


def test_every_operation_is_known_to_the_checker(verify):
    from flowmod.contraction.certificate._program import ARITY, POWERS

    intervals = sys.modules["verify_intervals"]
    assert set(ARITY) == {*intervals.VALUES, *POWERS, "constant", "select"}
    assert set(intervals.VALUES) == set(intervals.PARTIALS)


def test_files_that_are_no_certificates(tmp_path):
    code, _, err = run(tmp_path / "none.json")
    assert (code, "can't be read" in err) == (2, True)
    (tmp_path / "text.json").write_text("{")
    assert run(tmp_path / "text.json")[0] == 2
    (tmp_path / "other.json").write_text("{}")
    assert run(tmp_path / "other.json")[::2] == (1, "format: it must be 'flowmod certificate 1'\n")
    for name, message in (
        ("none.json", "is not a file"),
        ("text.json", "is no certificate"),
        ("other.json", "damaged"),
    ):
        with pytest.raises(ValueError, match=message):
            fm.Certificate.load(tmp_path / name)


def test_a_certificate_is_saved_whole_or_not_at_all(saved, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.json"):
        saved[0].save(tmp_path / "certificate.txt")
    with pytest.raises(ValueError, match="can't be written"):
        saved[0].save(tmp_path / "nowhere" / "certificate.json")
    assert list(tmp_path.iterdir()) == []
