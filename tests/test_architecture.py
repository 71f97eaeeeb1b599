"""The map of the rooms, held as data, so that it cannot rot."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "zvc69_cli"
NOUNS = {"frames", "errors", "flags"}

# Each room may import from itself, from the rooms named here, and from the nouns.
ALLOWED = {
    "cli": {"pipeline", "measure", "media", "runtime", "codec", "container"},
    "pipeline": {"media", "runtime", "codec", "container"},
    "measure": {"pipeline", "media", "runtime", "codec", "container"},
    "media": set(),
    "runtime": set(),
    "codec": set(),
    "container": set(),
    "frames": set(),
    "errors": set(),
    "flags": set(),
    "__main__": {"cli"},
    "__init__": {"pipeline", "runtime", "codec", "container"},
}

# Libraries that belong to some rooms only. The peers that `measure` compares with are FFmpeg's, so it knows PyAV too.
OWNERS = {
    "av": {"media", "measure"},
    "click": {"cli"},
    "rich": {"cli"},
    "tqdm": {"cli", "measure"},
    "onnxruntime": {"runtime"},
    "tensorrt": {"runtime"},
    "tensorrt_rtx_bindings": {"runtime"},
    "onnxruntime_ep_nv_tensorrt_rtx": {"runtime"},
    "openvino": {"runtime"},
    "onnx": {"runtime"},
    "constriction": {"codec"},
    "struct": {"container"},
    "zlib": {"container"},
    "matplotlib": {"measure"},
    "bjontegaard": {"measure"},
    "torch": set(),
}
LONGEST_LINES = 400
HEAVY = ("av", "onnxruntime", "numpy", "rich", "tqdm", "constriction")

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("zvc69_cli.")}


def test_every_room_is_on_the_map():
    assert {room_of(path) for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = room_of(path)
    wrong = rooms_imported(path) - ALLOWED[room] - NOUNS - {room}
    assert not wrong, f"{room} must not see {wrong}"
    assert not any(name.startswith(".") for name in imports_of(path)), "imports are absolute"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_is_known_to_its_room_only(path):
    outside = {name.split(".")[0] for name in imports_of(path)}
    for library in outside & set(OWNERS):
        assert room_of(path) in OWNERS[library], f"{library} belongs to {OWNERS[library]}"


def test_no_two_modules_import_each_other():
    graph = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): {
            name for name in top_level_imports(path) if name.startswith("zvc69_cli")
        }
        for path in FILES
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module in done or module not in graph:
            return
        for each in graph[module]:
            visit(each, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def top_level_imports(path: Path) -> set[str]:
    """Modules imported when the file is, those only for type checking left out."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_short_enough_to_read(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_LINES, f"{lines} lines: think again where to cut"


def test_the_top_level_is_as_agreed():
    root = PACKAGE.parent
    expected = {
        "pyproject.toml",
        "zvc69_cli",
        "engines",
        "presets",
        "tests",
        "samples",
        "Makefile",
        "README.md",
    }
    expected |= {"LICENSE", "CHANGELOG.md"}
    made_here = {"demo", "dist", "build", "coverage.xml"}
    found = {each.name for each in root.iterdir() if not each.name.startswith(".")} - made_here
    assert {name for name in found if not name.endswith(".egg-info")} == expected


def test_the_package_imports_nothing_heavy():
    import subprocess

    code = f"import sys, zvc69_cli; print([name for name in {HEAVY} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
