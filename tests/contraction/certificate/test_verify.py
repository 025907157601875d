"""A saved certificate is checked without flowmod, and whoever changes it is told where."""

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
        (say_disproved, "witness: distances along its direction are not proved to grow"),
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
