"""Imports point one way: lower layers don't import higher ones."""

import ast
import posixpath
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "educa_chat"
LAYERS = [
    {"settings", "errors", "logo"},
    {
        "translations",
        "protocol",
        "frames",
        "markup",
        "limits",
        "batch_loader",
        "metrics",
        "log_lines",
        "mentions",
        "presence",
        "roster_file",
        "spreadsheet",
        "tasks",
    },
    {"events"},
    {"commands", "room", "storage", "bus", "payload", "websocket_protocol"},
    {"chat", "hub", "markers", "sockets", "unread"},
    {"chat_socket"},
    {"handlers"},
    {"people"},
    {"app"},
    {"cli", "cli_lti", "serve", "check", "demo", "__main__"},
]
MODULES = sorted(path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py"))


@cache
def imports_of(module: Path) -> set[str]:
    """Return the full names of the modules and objects that `module` imports, anywhere in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE.parent / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(dotted: str) -> str | None:
    """Return the part of the package that a name belongs to; None for other packages and the package itself."""
    names = dotted.split(".")
    return names[1] if names[0] == "educa_chat" and len(names) > 1 else None


def layer_of(part: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def test_a_module_imports_only_from_its_own_layer_and_those_below() -> None:
    for module in MODULES:
        part = module.with_suffix("").parts[1]
        if part == "__init__":
            continue
        for imported in map(part_of, imports_of(module)):
            if imported is not None:
                assert layer_of(imported) <= layer_of(part), f"{module} imports {imported}"


def name_of(module: Path) -> str:
    return ".".join(module.with_suffix("").parts).removesuffix(".__init__")


def test_modules_have_no_import_cycles() -> None:
    names = set(map(name_of, MODULES))
    graph = {
        name_of(module): {
            # A name may be a module, or an object in one.
            imported if imported in names else imported.rpartition(".")[0]
            for imported in imports_of(module)
        }
        & names
        for module in MODULES
    }
    TopologicalSorter(graph).prepare()  # Raises CycleError, which names the modules.


def test_scripts_have_no_import_cycles() -> None:
    """Types don't count: `@import` is a comment, which a browser doesn't follow."""
    folder = PACKAGE / "static" / "js"
    imported = re.compile(
        r"""^(?:import|export)\b[^;]*?from '([^']+)';|^import '([^']+)';|\bimport\('([^']+)'\)""", re.M
    )
    graph = {
        (name := script.relative_to(folder).as_posix()): {
            posixpath.normpath(posixpath.join(posixpath.dirname(name), "".join(found)))
            for found in imported.findall(script.read_text(encoding="utf-8"))
        }
        for script in folder.rglob("*.js")
    }
    assert set().union(*graph.values()) <= set(graph)
    assert "dom.js" in graph["room.js"]
    TopologicalSorter(graph).prepare()


def test_folders_do_not_import_forbidden_modules() -> None:
    for folder, strangers in (
        ("bus", {"aiohttp", "aiohttp_session", "aiohttp_jinja2", "asyncpg"}),
        ("storage", {"aiohttp", "aiohttp_session", "aiohttp_jinja2", "redis"}),
        ("handlers", {"asyncpg", "redis"}),
    ):
        others = {"bus": "storage", "storage": "bus"}
        for module in MODULES:
            if module.parts[1] == folder:
                names = imports_of(module)
                assert not {name.partition(".")[0] for name in names} & strangers, module
                assert others.get(folder, "nothing") not in map(part_of, names), module


def test_rooms_and_sockets_do_not_import_http() -> None:
    for module in ("room", "chat_socket", "websocket_protocol"):
        assert not {name.partition(".")[0] for name in imports_of(Path(f"educa_chat/{module}.py"))} & {"aiohttp"}, (
            module
        )


def test_only_the_application_imports_implementations() -> None:
    concrete = {"MemoryBus", "RedisBus", "DjangoIdentity", "OwnIdentity"}
    for module in MODULES:
        if module.parts[1] not in ("app.py", "bus", "people"):
            names = {name.rpartition(".")[2] for name in imports_of(module)}
            assert not names & concrete, module


def test_the_architecture_lists_every_module_and_folder() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed: dict[str, set[str]] = {}
    for folder, table in re.findall(r"^\| (?:file|in `(\w+)/`) \| role \|\n((?:\|.*\n)+)", text, re.MULTILINE):
        listed[folder] = {name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    there: dict[str, set[str]] = {folder: set() for folder in listed}
    for path in PACKAGE.iterdir():
        if path.name.startswith("__") and path.name != "__main__.py":
            continue
        there[""].add(f"{path.name}/" if path.is_dir() else path.name)
        if path.name in listed:
            there[path.name] = {f"{one.name}/" if one.is_dir() else one.name for one in path.iterdir()}
            there[path.name] = {name for name in there[path.name] if re.fullmatch(r"[a-z]\w*(\.py|/)", name)}
    there[""] -= {"py.typed"}
    there[""].add("../templates/")
    assert listed == there


def test_every_module_has_a_docstring_with_its_role() -> None:
    for module in MODULES:
        assert ast.get_docstring(ast.parse((PACKAGE.parent / module).read_text(encoding="utf-8"))), module
