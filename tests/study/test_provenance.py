"""Results say where they come from, and do not claim another project's commit."""

import json
import subprocess
from pathlib import Path

import jax
import pytest

from flowmod.study import provenance as module
from flowmod.study.provenance import provenance

ROOT = Path(__file__).parent.parent.parent


def git(folder, *words):
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_record_is_json_and_complete():
    record = json.loads(json.dumps(provenance(["flowmod", "demo"], {"starts": 3}, seed=7)))
    assert record["command"] == ["flowmod", "demo"]
    assert record["config"] == {"starts": 3}
    assert record["seed"] == 7
    assert record["versions"]["jax"] == jax.__version__
    assert record["machine"]["precision"] == "float64"
    assert set(record) == {"command", "config", "seed", "time", "versions", "git", "machine"}


def test_the_commit_is_that_of_the_checkout():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert provenance([], {}, None)["git"]["commit"] == git(ROOT, "rev-parse", "HEAD").strip()


def test_a_checkout_with_changes_is_dirty(tmp_path, monkeypatch):
    package = tmp_path / "flowmod"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    monkeypatch.setattr(module, "_PACKAGE", package)
    assert provenance([], {}, None)["git"] == {"commit": git(tmp_path, "rev-parse", "HEAD").strip(), "dirty": False}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "run.json").write_text("{}")
    assert not provenance([], {}, None)["git"]["dirty"]
    (package / "a.py").write_text("x = 2\n")
    assert provenance([], {}, None)["git"]["dirty"]


def test_a_copy_inside_another_project_has_no_commit(tmp_path, monkeypatch):
    package = tmp_path / "env" / "site-packages" / "flowmod"
    package.mkdir(parents=True)
    git(tmp_path, "init", "-q")
    (tmp_path / "theirs.py").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    monkeypatch.setattr(module, "_PACKAGE", package)
    assert provenance([], {}, None)["git"] is None


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance([], {}, None)["git"] is None
