"""What stands beside the package agrees with it: the README runs, the versions are one, no file names a machine."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


PAGES = ["README.md", *(f"docs/guides/{page.name}" for page in sorted((ROOT / "docs" / "guides").glob("*.md")))]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in (ROOT / page).read_text(encoding="utf-8")])
def test_what_a_reader_copies_runs(page, tmp_path):
    # In a process of its own: the tests' strict JAX settings are not the reader's.
    command = [sys.executable, ROOT / ".ci" / "quickstart.py", page]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert f"Python blocks of {page} ran" in run.stdout


def test_the_version_is_one_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    headings = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert citation
    assert citation[1] == version
    assert {version, "Unreleased"} & set(headings)


def test_the_package_is_typed():
    assert (ROOT / "flowmod" / "py.typed").exists()


# Homes, temporary folders and package indexes. Each pattern is written so that it does not match itself.
MACHINE = re.compile(r"/(?:home|Users)/\w|/(?:root|tmp)/\w|[A-Z]:\\Users|https?://\S+/simple\b")


def machine_names(text: str) -> list[str]:
    """The places in a text that hold on one machine only."""
    return MACHINE.findall(text) + [str(ROOT)] * (str(ROOT) in text)


def test_no_file_names_a_machine():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True)
    if listing.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's own files")
    paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file()}
    assert texts
    found = {path.name: names for path, text in texts.items() if (names := machine_names(text))}
    assert found == {}


@pytest.mark.parametrize(
    "parts",
    [("see /ho", "me/ada"), ("in /ro", "ot/run"), ("in /t", "mp/run"), ("https://a.org/sim", "ple"), (str(ROOT),)],
)
def test_a_machine_is_recognised(parts):
    assert machine_names("".join(parts))


def test_a_link_is_no_machine():
    assert not machine_names("https://arxiv.org/abs/2603.03610, docs/simple, simpler, the root of /roots")
