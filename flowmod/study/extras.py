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
    wanted: dict[str, set[str]] = {}
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra\s*==\s*['"]([\w.-]+)['"]""", requirement)
        if name and extra:
            wanted.setdefault(extra[1], set()).add(_normal(name[0]))
    # A built package has those extras written out that are made of others, and `all` comes first.
    having = [extra for extra, names in wanted.items() if _normal(distribution) in names]
    return min(having, key=lambda extra: len(wanted[extra]), default=None)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
