"""Ground rules for all tests: double precision, no silent promotion or broadcasting, types checked at run time."""

import collections
import gc
import json
from pathlib import Path

import hypothesis
import jax
import matplotlib
import pytest
from click.testing import CliRunner

from flowmod.cli import main

matplotlib.use("Agg")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes millions of short-lived objects, and a full collection would walk all of JAX for them again and again.
gc.freeze()
gc.set_threshold(200_000, 20, 50)

# Random tests are seeded: a change fails by what it changed.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
hypothesis.settings.load_profile("seeded")

DATA = Path(__file__).parent / "data"

LONGEST = ("test_demo.py", "test_simulate.py", "test_networks.py", "test_lanczos_rate.py", "test_network_rates.py")
"""Files that start first, because one of them would keep one of two processes busy after the other has ended."""


def pytest_collection_modifyitems(items):
    """Then those with the most tests; with `--no-loadscope-reorder` the processes take them in this order."""
    tests = collections.Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name not in LONGEST, -tests[item.path]))


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_file():
    """Every compiled program maps memory, and a process may have 65,530 maps: XLA crashes on one more."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def oracle():
    """Independent reference numbers by name, made with NumPy, SciPy and sympy."""

    def read(name):
        return json.loads((DATA / f"{name}.json").read_text())

    return read


@pytest.fixture
def key():
    return jax.random.key(20260304)


@pytest.fixture
def flowmod(request, tmp_path, monkeypatch):
    """The command in an empty folder with the test file's `SOURCE` as model.py; its answer, checked for its code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "model.py").write_text(request.module.SOURCE)

    def run(*words, code=0):
        answer = CliRunner().invoke(main, words, catch_exceptions=False)
        assert answer.exit_code == code, answer.output
        if code:
            [line] = [line for line in answer.stderr.splitlines() if line.startswith("Error: ")]
            return line.removeprefix("Error: ")
        return answer.stdout

    return run
