"""Imports inside the package never point up a floor, and no file or function is too long to read.

The rooms and their floors are described in `docs/guides/architecture.md`. The checker reads a folder and imports
nothing, so the same code is shown folders that break each rule.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "flowmod"

FLOORS = (
    ("_typing", "_tree", "_results", "_extras"),
    ("linalg",),
    ("module",),
    ("loss",),
    ("metric",),
    ("flow",),
    ("simulate",),
    ("contraction", "discrete", "variational"),
    ("bio", "plot"),
    ("study",),
    ("cli", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# The package itself re-exports every room, so only the command may import it. The files of the
# lowest and of the highest floor import each other; elsewhere two rooms of one floor know nothing of each other.
FLOOR["__init__"] = FLOOR["cli"]
SHARED_FLOORS = (FLOOR["_tree"], FLOOR["cli"])

LONGEST_FILE = 400
LONGEST_FUNCTION = 60


def violations(package: Path) -> list[str]:
    """Every place in the folder of a package that breaks a rule, as `file:line: what is wrong`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package).as_posix()
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, where)
        length = len(text.splitlines())
        if length > LONGEST_FILE:
            found.append(f"{where}:1: {length} lines, and {LONGEST_FILE} are the most")
        problems = (*_long_functions(tree), *_upward(tree, path, package))
        found += [f"{where}:{line}: {problem}" for line, problem in problems]
    for folder in sorted({path.parent for path in package.rglob("*.py")}):
        init = folder / "__init__.py"
        if not init.exists() or not ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))):
            found.append(f"{init.relative_to(package).as_posix()}:1: the package has no docstring")
    return found


def _long_functions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1 - _docstring_lines(node)
            if length > LONGEST_FUNCTION:
                yield node.lineno, f"`{node.name}` has {length} lines, and {LONGEST_FUNCTION} are the most"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    # A public docstring gives shapes, units, errors and source: it should not be shortened to make room for code.
    first = node.body[0]
    return first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0


def _upward(tree: ast.Module, path: Path, package: Path) -> Iterator[tuple[int, str]]:
    room = path.relative_to(package).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    if room not in FLOOR:
        yield 1, f"room `{room}` has no floor; give it one in FLOORS and in the architecture guide"
        return
    # `walk` also visits function bodies and `if TYPE_CHECKING:`; an import for a type is knowledge too.
    for node in ast.walk(tree):
        for target in _imported_rooms(node, path, package):
            if target == room:
                continue
            if target not in FLOOR:
                yield node.lineno, f"imports `{target}`, a room without a floor"
            elif FLOOR[target] > FLOOR[room]:
                yield node.lineno, f"`{room}` (floor {FLOOR[room]}) imports `{target}` (floor {FLOOR[target]})"
            elif FLOOR[target] == FLOOR[room] and FLOOR[room] not in SHARED_FLOORS:
                yield node.lineno, f"`{room}` imports `{target}`, its neighbour on floor {FLOOR[room]}"


def _imported_rooms(node: ast.AST, path: Path, package: Path) -> Iterator[str]:
    """The rooms that one node imports; `__init__` stands for the package itself."""
    match node:
        case ast.Import(names=names):
            modules = [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            # A module's first dot is the folder it lies in, for `__init__.py` too.
            folder = (package.name, *path.relative_to(package).parent.parts)
            start = folder[: len(folder) - level + 1] if level else ()
            base = ".".join((*start, *([module] if module else [])))
            modules = [f"{base}.{alias.name}" for alias in names] if base == package.name else [base]
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(module)), *_]):
            modules = [module] if name in ("import_module", "__import__") else []
        case _:
            modules = []
    for module in modules:
        top, _, rest = module.partition(".")
        if top == package.name:
            room = rest.partition(".")[0]
            exists = (package / room).is_dir() or (package / f"{room}.py").exists()
            yield room if room and exists else "__init__"


def test_the_package_keeps_the_rules():
    assert PACKAGE.is_dir()
    assert list(PACKAGE.rglob("*.py")), "the checker saw no file"
    assert violations(PACKAGE) == []


# --- negative controls: each rule, broken once ---


@pytest.fixture
def house(tmp_path):
    """A package that keeps every rule: a metric, a flow that uses it, two neighbours and the command."""
    package = tmp_path / "flowmod"
    for room in ("metric", "flow", "bio", "plot"):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text(f'"""The {room}."""\n')
    (package / "__init__.py").write_text('"""All of it."""\n\nfrom . import plot as plot\nfrom .flow import F as F\n')
    (package / "_tree.py").write_text("from ._typing import Tree\n")
    (package / "_typing.py").write_text("import collections.abc\n")
    (package / "metric" / "dense.py").write_text("from .._tree import dot\n")
    (package / "flow" / "gradient.py").write_text(
        "import jax\nfrom ..metric.dense import Dense\nfrom .other import G\n\n\ndef f():\n    import flowmod.metric\n"
    )
    (package / "cli.py").write_text("import flowmod as fm\nfrom . import plot\n")
    (package / "__main__.py").write_text("from .cli import main\n")
    return package


def test_a_house_in_order_passes(house):
    assert violations(house) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("metric/bad.py", "import flowmod.flow.gradient\n", "bad.py:1: `metric` (floor 4) imports `flow` (floor 5)"),
        ("metric/bad.py", "from flowmod import flow\n", "imports `flow`"),
        ("metric/bad.py", "from flowmod import GradientFlow\n", "imports `__init__`"),
        ("metric/bad.py", "import flowmod\n", "imports `__init__`"),
        ("metric/bad.py", "from ..flow.gradient import F\n", "imports `flow`"),
        ("metric/bad.py", "from .. import flow\n", "imports `flow`"),
        ("metric/bad.py", "from .. import F\n", "imports `__init__`"),
        ("metric/bad.py", "\n\ndef f():\n    from ..flow import F\n", "bad.py:4: `metric` (floor 4) imports `flow`"),
        ("metric/bad.py", "class A:\n    def f(self):\n        import flowmod.plot as p\n", "imports `plot`"),
        ("metric/bad.py", "if TYPE_CHECKING:\n    from ..flow import F\n", "imports `flow`"),
        ("metric/bad.py", "importlib.import_module('flowmod.flow')\n", "imports `flow`"),
        ("metric/__init__.py", '"""M."""\nfrom ..flow import F\n', "metric/__init__.py:2: `metric`"),
        ("_tree.py", "from .metric import M\n", "_tree.py:1: `_tree` (floor 0) imports `metric`"),
        ("plot/bad.py", "from ..bio import toggle_switch\n", "`plot` imports `bio`, its neighbour on floor 8"),
        ("bio/bad.py", "from ..plot import rate\n", "`bio` imports `plot`, its neighbour on floor 8"),
        ("attic.py", "", "room `attic` has no floor"),
        ("metric/long.py", "x = 1\n" * 401, "long.py:1: 401 lines"),
        ("metric/long.py", "@d\ndef f():\n" + "    x = 1\n" * 60, "long.py:2: `f` has 61 lines"),
        ("metric/long.py", "class A:\n    async def f():\n" + "        x = 1\n" * 60, "long.py:2: `f` has 61 lines"),
        ("metric/__init__.py", "x = 1\n", "metric/__init__.py:1: the package has no docstring"),
        ("metric/sub/a.py", "", "metric/sub/__init__.py:1: the package has no docstring"),
    ],
)
def test_a_broken_rule_is_found(house, file, text, complaint):
    path = house / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    found = violations(house)
    assert len(found) == 1
    assert complaint in found[0]


def test_the_longest_allowed_pass(house):
    (house / "metric" / "file.py").write_text("x = 1\n" * LONGEST_FILE)
    (house / "metric" / "function.py").write_text("def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION - 1))
    assert violations(house) == []
