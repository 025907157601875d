"""How the pages are built. Nothing is fetched: no intersphinx, no scripts for formulas, no fonts."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "flowmod"
author = "The flowmod developers"
project_copyright = "2026, The flowmod developers"
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "mathml",
]
exclude_patterns = ["_build", "_ext", "gallery/*.ipynb", "gallery/*.py", "gallery/*.json"]
templates_path = []

html_theme = "furo"
html_title = f"flowmod {release}"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
# The docstrings give shapes and units; the annotations behind them are long and say less.
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Attributes become fields of their class, or `:members:` would describe them a second time.
napoleon_use_ivar = True
napoleon_attr_annotations = False
# Docstrings write code in single backquotes, as in Markdown.
default_role = "literal"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",  # every example is run; by default only those named `plot_*` are
    "ignore_pattern": r"/_",
    "within_subsection_order": "FileNameSortKey",
    "parallel": 2,  # pages in processes of their own: most of their time is compiling, which takes one core
    "reset_modules": ("matplotlib", "fresh_jax.reset"),
    "capture_repr": ("_repr_html_", "__repr__"),
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,  # those pages load scripts from a CDN
    "show_signature": False,
    "min_reported_time": 10,
    "remove_config_comments": True,
}
