"""The package as a whole: what an import does and does not do, and that nothing public is undocumented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import flowmod as fm

ROOT = Path(__file__).parents[1]


def run_python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_import_changes_no_configuration_prints_nothing_and_loads_no_figures():
    script = """
import sys, jax
before = dict(jax.config.values)
import flowmod
assert dict(jax.config.values) == before
loaded = [name for name in ("matplotlib", "xarray", "pandas", "h5netcdf", "sklearn") if name in sys.modules]
assert not loaded, loaded
"""
    assert run_python(script) == ""


def test_negative_control_a_lazy_room_does_load_matplotlib():
    assert run_python("import sys, flowmod; flowmod.plot; print('matplotlib' in sys.modules)").strip() == "True"


def test_single_precision_works_where_double_is_off():
    script = """
import jax.numpy as jnp, numpy as np, flowmod as fm
flow = fm.bio.toggle_switch(4.0, 4.0)
run = fm.simulate(flow, {"u": 1.0, "v": 3.0}, 5.0, observe=lambda t, y, args: y["u"] * t)
kinds = {str(np.asarray(a).dtype) for a in (run.ts, run.ys["u"], run.potential, run.ledger, run.observed)}
assert kinds == {"float32"}, kinds
assert abs(run.ledger).max() < 1e-3
stiff = fm.simulate(flow, {"u": 1.0, "v": 3.0}, 5.0, solver="stiff")
assert abs(stiff.ys["u"][-1] - run.ys["u"][-1]) < 1e-2
members = fm.ensemble(flow, {"u": jnp.ones(3), "v": jnp.ones(3)}, 5.0)
assert members.ys["u"].dtype == np.float32
assert fm.contraction_rate(flow, {"u": jnp.asarray(1.0), "v": jnp.asarray(3.0)}).dtype == jnp.float32
assert len(flow.equilibria()) == 3
double = fm.simulate(fm.VectorField(lambda t, y, args: -y), np.ones(1), 1.0)
assert double.ys.dtype == np.float32
try:
    fm.simulate(fm.VectorField(lambda t, y, args: -y), np.ones(1), 1.0, rtol=1e-10)
except ValueError as error:
    assert "float32" in str(error)
else:
    raise AssertionError("a tolerance below the precision was accepted")
"""
    assert run_python(script) == ""


def public_names():
    namespaces = {"fm": fm, "fm.bio": fm.bio, "fm.plot": fm.plot}
    for prefix, module in namespaces.items():
        names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
        for name in names:
            if isinstance(getattr(module, name), type(fm)):
                continue  # a room, not a name
            yield f"{prefix}.{name}", getattr(module, name)


PUBLIC = dict(public_names())


@pytest.mark.parametrize("name", list(PUBLIC))
def test_every_public_name_is_documented_and_on_the_api_page(name):
    documentation = PUBLIC[name].__doc__
    assert documentation
    assert len(documentation.split()) >= 3
    page = (ROOT / "docs" / "api.md").read_text()
    assert re.search(rf"\b{re.escape(name.rsplit('.', 1)[-1])}\b", page), f"{name} is not on docs/api.md"


def test_the_contract_of_public_names_is_kept():
    wanted = """AbstractMetric Euclidean ConstantMetric DenseMetric DiagonalMetric MovingMetric check_metric
    steepest_descent GradientFlow InertialFlow VectorField equilibria simulate ensemble Trajectory load RESULTS
    generalized_jacobian contraction_rate bio plot study"""
    assert all(hasattr(fm, name) for name in wanted.split())
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fm.nonsense  # noqa: B018


def test_version_is_that_of_the_project():
    assert f'version = "{fm.__version__}"' in (ROOT / "pyproject.toml").read_text()
