"""Which optional part of the package brings a module that is not installed."""

import re
from importlib import metadata

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Modules that are not called like what installs them."""


def cure_for(error: ModuleNotFoundError) -> str:
    """One sentence: what is missing, and the command that installs it if one of the extras does."""
    module = (error.name or "").partition(".")[0]
    extra = _extra_with(_DISTRIBUTIONS.get(module, module))
    cure = f"pip install 'flowmod[{extra}]'" if extra else "install the package that has it, or correct the import."
    return f"The module `{module}` is not installed: {cure}"


def _extra_with(distribution: str) -> str | None:
    try:
        requirements = metadata.requires("flowmod") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return None
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra\s*==\s*['"]([\w.-]+)['"]""", requirement)
        if name and extra and _normal(name[0]) == _normal(distribution):
            return extra[1]
    return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
