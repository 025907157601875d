"""A folder of results is whole or not there, whatever happens on the way."""

import os

import pytest

from flowmod.study import folder
from flowmod.study.folder import results_folder


def write(staging, text):
    for name in ("a.png", "b.nc", "run.json"):
        (staging / name).write_text(text)


def contents(path):
    return {file.name: file.read_text() for file in path.iterdir()}


def whole(text):
    return {name: text for name in ("a.png", "b.nc", "run.json")}


def test_a_run_makes_the_folder(tmp_path):
    with results_folder(tmp_path / "results" / "demo") as staging:
        write(staging, "first")
        assert not (tmp_path / "results").exists()
    assert contents(tmp_path / "results" / "demo") == whole("first")
    assert os.listdir(tmp_path) == ["results"]


def test_a_second_run_replaces_its_own_files_only(tmp_path):
    with results_folder(tmp_path) as staging:
        write(staging, "first")
    (tmp_path / "notes.txt").write_text("mine")
    with results_folder(tmp_path) as staging:
        write(staging, "second")
    assert contents(tmp_path) == whole("second") | {"notes.txt": "mine"}


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failing_run_leaves_everything_as_it_was(tmp_path, failure):
    with results_folder(tmp_path / "demo") as staging:
        write(staging, "first")

    def fail(path):
        with results_folder(path) as staging:
            (staging / "a.png").write_text("half")
            raise failure

    with pytest.raises(failure):
        fail(tmp_path / "demo")
    assert contents(tmp_path / "demo") == whole("first")
    with pytest.raises(failure):
        fail(tmp_path / "new" / "demo")
    assert os.listdir(tmp_path) == ["demo"]


def test_a_folder_that_was_interrupted_while_it_was_replaced_has_no_manifest(tmp_path, monkeypatch):
    with results_folder(tmp_path) as staging:
        write(staging, "first")
    replace = os.replace

    def interrupted(source, target):
        if target.name == "b.nc":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(folder.os, "replace", interrupted)

    def run():
        with results_folder(tmp_path) as staging:
            write(staging, "second")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert contents(tmp_path) == {"a.png": "second", "b.nc": "first"}


def test_a_place_that_is_no_folder_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "demo"):
        with (
            pytest.raises(ValueError, match=r"`--out` .* can't be written to \(.+\): choose another folder"),
            results_folder(path),
        ):
            pytest.fail("the run started")
    assert contents(tmp_path) == {"file": "mine"}
