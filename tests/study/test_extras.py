"""A missing module is named, with the command that installs it if one of the extras does."""

import pytest

from flowmod.study import extras

REQUIREMENTS = [
    "jax>=0.10.2",
    'scikit-learn>=1.9; extra == "examples"',
    "flowmod[examples]; extra == 'test'",
    "Some.Thing[fast]>=1; python_version > '3' and extra == 'test'",
]


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(extras.metadata, "requires", lambda name: REQUIREMENTS)


@pytest.mark.parametrize(
    ("module", "cure"),
    [
        ("sklearn", "The module `sklearn` is not installed: pip install 'flowmod[examples]'"),
        ("sklearn.datasets", "The module `sklearn` is not installed: pip install 'flowmod[examples]'"),
        ("some_thing", "The module `some_thing` is not installed: pip install 'flowmod[test]'"),
        ("jaxx", "The module `jaxx` is not installed: install the package that has it, or correct the import."),
        ("jax", "The module `jax` is not installed: install the package that has it, or correct the import."),
    ],
)
@pytest.mark.usefixtures("installed")
def test_the_cure(module, cure):
    assert extras.cure_for(ModuleNotFoundError("", name=module)) == cure


def test_of_several_extras_the_smallest_is_named(monkeypatch):
    built = [f"scikit-learn>=1.9; extra == '{extra}'" for extra in ("all", "docs", "examples", "test")]
    others = [f"{name}; extra == '{extra}'" for extra in ("all", "docs", "test") for name in ("sphinx", "pytest")]
    monkeypatch.setattr(extras.metadata, "requires", lambda name: [*built, *others])
    assert extras.cure_for(ModuleNotFoundError("", name="sklearn")).endswith("pip install 'flowmod[examples]'")


def test_a_source_tree_has_no_extras(monkeypatch):
    def missing(name):
        raise extras.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras.metadata, "requires", missing)
    assert "install the package that has it" in extras.cure_for(ModuleNotFoundError("", name="sklearn"))
