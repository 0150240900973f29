"""The house: imports go down the floors, files and functions stay small, and nothing dangerous is called."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "camelid"
FLOORS = {
    "errors": 0,
    "config": 0,
    "recipe_sections": 0,
    "runs": 0,
    "data": 1,
    "model": 2,
    "generate": 3,
    "train": 4,
    "evaluate": 4,
    "explain": 4,
    "serve": 4,
    "cli": 5,
}
TOP_FLOOR_OF_RULE = 4  # rooms of this floor never import each other
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 100
DRAWERS = {"utils", "helpers", "common", "misc"}
WITHOUT_TORCH = {"errors", "config", "recipe_sections", "runs", "data"}
FILES = sorted(SOURCE.rglob("*.py"))
IDS = [str(path.relative_to(SOURCE)) for path in FILES]


def _room(path: Path) -> str:
    part = path.relative_to(SOURCE).parts[0]
    return part.removesuffix(".py")


def _imports(tree: ast.AST) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append((node.module, node.lineno))
            if node.module == "camelid":
                found += [(f"camelid.{alias.name}", node.lineno) for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_go_down(path: Path) -> None:
    room = _room(path)
    if room in ("__init__", "__main__"):
        return
    wrong = []
    for name, line in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if room in WITHOUT_TORCH and parts[0] in ("torch", "transformers", "peft"):
            wrong.append(f"{path.name}:{line} imports {name} on a floor without torch")
        if parts[0] != "camelid" or len(parts) == 1 or parts[1] == room or parts[1] not in FLOORS:
            continue
        if FLOORS[parts[1]] > FLOORS[room] or FLOORS[parts[1]] == FLOORS[room] == TOP_FLOOR_OF_RULE:
            wrong.append(f"{path.name}:{line} imports {name} from {room}")
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE_LINES
    assert not DRAWERS & set(path.relative_to(SOURCE).with_suffix("").parts)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path.name}: {node.name} has {length} lines"


def _calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_dangerous_is_called(path: Path) -> None:
    """No pickle, eval, exec, shell, unsafe YAML or remote code (reliability rule 8); no guessing by hasattr."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {name.split(".")[0] for name, _ in _imports(tree)}
    assert not imported & {"pickle", "cPickle", "dill", "marshal", "shelve"}
    for name, call in _calls(tree):
        keywords = {k.arg: k.value for k in call.keywords}
        assert name not in ("eval", "exec", "yaml.load", "torch.load", "torch.save", "os.system", "hasattr"), name
        shell = keywords.get("shell")
        assert not (isinstance(shell, ast.Constant) and shell.value), name
        assert "trust_remote_code" not in keywords or ast.unparse(keywords["trust_remote_code"]) == "False", name


def test_importing_camelid_imports_no_torch() -> None:
    """`import camelid`, `camelid --help` and the data floor start without torch, pydantic and transformers."""
    code = (
        "import sys, camelid, camelid.cli.main\n"
        "heavy = {'torch', 'transformers', 'peft', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import camelid.data.sources, camelid.data.render, camelid.data.pack, camelid.runs.directory\n"
        "heavy = {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_largest_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a limit but a mirror: the ten largest files, for whoever runs this with -s."""
    sizes = sorted((path.read_text(encoding="utf-8").count("\n"), str(path.relative_to(SOURCE))) for path in FILES)
    with capsys.disabled():
        print("\nlargest files: " + ", ".join(f"{name} {lines}" for lines, name in sizes[:-6:-1]))
    assert sizes[-1][0] <= MAX_FILE_LINES
