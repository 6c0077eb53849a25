"""The rules of the code that a machine can hold: sizes, forbidden constructs, words, links, declared libraries."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Set
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE_LINES = 500
FUNCTION_LINES = 70

# Where a broad `except` that does not raise again is right: at the edge of the program, and at the end of a thread,
# whose error is raised by the one that joins it.
BROAD_EXCEPT = {"meshmark/cli/", "meshmark/backends/lab/namespace.py"}
# Where time.sleep is right: the clock, and a probe that measures for so long. Everything else is given a Clock, or
# waits on a condition that it asks for every POLL_S.
SLEEP = {"meshmark/clock.py", "meshmark/load/probe_network.py"}
POLL = "POLL_S"
# Hosts that texts may name. Registries are not among them: their clients know where they are. Providers' public
# documentation is where the figures of hardware profiles are from.
HOSTS = {
    "apache.org",
    "cloud.google.com",
    "docs.aws.amazon.com",
    "ebs.csi.aws.com",
    "example.com",
    "json-schema.org",
    "learn.microsoft.com",
    "monitoring.coreos.com",
    "type.googleapis.com",
    "www.apache.org",
    "www.w3.org",
    "yaml.org",
}
GO_MODULES = {"go.mod", "go.sum", "main.go", "kubernetes_schemas.py", "schemas.json"}
"""Modules of Go are named by hosts."""
# Distributions that another one pins and re-exports.
PART_OF = {"pydantic-core": "pydantic", "markupsafe": "jinja2"}
RUN = ("", "lab", "k8s", "report", "metrics", "live")
PACKAGE = (*RUN, "parquet")
DEV = (*PACKAGE, "dev")


@cache
def tracked() -> tuple[Path, ...]:
    """Text files under version control, and those about to be."""
    argv = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [ROOT / name for name in names]
    return tuple(path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8_000])


def python_files(*folders: str) -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def allowed(path: Path, places: set[str]) -> bool:
    return any(str(path.relative_to(ROOT)).startswith(start) for start in places)


@cache
def parts(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(path)))


def nodes(*folders: str) -> Iterator[tuple[Path, ast.AST]]:
    for path in python_files(*folders):
        for node in parts(path):
            yield path, node


def matches(pattern: str, suffixes: set[str] | None = None, *, but: Set[str] = frozenset()) -> list[str]:
    """Lines of tracked texts in which the pattern is found; this file, which names what it forbids, apart."""
    found = []
    for path in tracked():
        if path == Path(__file__) or path.name in but or (suffixes and path.suffix not in suffixes):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            found += [f"{place(path, number)}: {match.group()}" for match in re.finditer(pattern, line)]
    return found


def test_there_is_something_to_look_at() -> None:
    assert len(python_files("meshmark")) > 10


def test_modules_are_short() -> None:
    files = python_files("meshmark", "tests", "bench", "tools")
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_functions_fit_a_screen() -> None:
    long = [
        f"{place(path, node.lineno)} {node.name}: {length} lines"
        for path, node in nodes("meshmark", "tests", "bench", "tools")
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    files = python_files("meshmark", "tests", "bench", "tools")
    assert [str(path.relative_to(ROOT)) for path in files if not ast.get_docstring(tree(path))] == []


def test_no_shell_strings() -> None:
    found = [
        place(path, node.lineno)
        for path, node in nodes("meshmark", "tests", "bench", "tools")
        if (isinstance(node, ast.keyword) and node.arg == "shell")
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.system", "os.popen"})
    ]
    assert found == []


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_broad_excepts_are_at_edges_only() -> None:
    found = [
        place(path, node.lineno)
        for path, node in nodes("meshmark", "bench", "tools")
        if isinstance(node, ast.ExceptHandler) and not allowed(path, BROAD_EXCEPT) and not raises_again(node)
        if node.type is None or {"Exception", "BaseException"} & set(re.findall(r"\w+", ast.unparse(node.type)))
    ]
    assert found == []


def test_nobody_sleeps_for_readiness() -> None:
    found = [
        place(path, node.lineno)
        for path, node in nodes("meshmark", "tests", "bench", "tools")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}
        if not allowed(path, SLEEP) and ast.unparse(node.args[0]) != POLL
    ]
    assert found == []


def test_texts_name_no_other_hosts() -> None:
    urls = matches(r"https?://(?P<host>[\w.-]+\.[a-z]{2,})")
    bare = matches(r"\b(?:[a-z0-9-]+\.)+(?:org|com)\b(?!\.\w)", but=GO_MODULES)
    assert [line for line in urls if line.split("//")[-1] not in HOSTS] == []
    assert [line for line in bare if line.split(": ")[-1] not in HOSTS] == []


def test_texts_name_no_path_of_one_machine() -> None:
    assert matches(r"(?<![\w.*}\])-])/(?:work|root|home)/") == []
    assert matches(r"(?<![\w.*}\])-])/tmp/", {".py", ".sh"}) == [], "temporary files belong to tempfile or tmp_path"


def test_nothing_is_left_for_later_in_comments() -> None:
    assert matches(r"\b(?:TODO|FIXME|XXX|HACK)\b") == []


def headings(path: Path) -> set[str]:
    """Anchors as Markdown renderers make them."""
    titles = re.findall(r"^#+ +(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(path: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))


def test_links_in_texts_resolve() -> None:
    broken = []
    for path in tracked():
        if path.suffix != ".md":
            continue
        for link in links(path):
            if "://" in link:
                continue
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            if not target.exists() or (anchor and anchor not in headings(target)):
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert broken == []


def test_documents_that_the_code_names_exist() -> None:
    named = matches(r"\b(?:docs|bench)/[\w/-]+\.md\b", {".py", ".sh", ".yaml", ".toml"})
    assert named
    assert [line for line in named if not (ROOT / line.split(": ")[-1]).is_file()] == []


def test_every_document_is_in_the_table_of_contents() -> None:
    docs = ROOT / "docs"
    listed = {(docs / link.partition("#")[0]).resolve() for link in links(docs / "README.md")}
    written = {path for path in tracked() if docs in path.parents and path.suffix == ".md"}
    assert written - listed - {docs / "README.md"} == set()


@cache
def declared() -> dict[str, set[str]]:
    """Extra ("" for the core) -> distributions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: {re.split(r"[^\w.-]", line)[0].lower() for line in lines} for extra, lines in groups.items()}


def imported(*folders: str) -> dict[str, set[str]]:
    """Top-level module that is neither ours nor Python's -> places that import it."""
    found: dict[str, set[str]] = {}
    for path, node in nodes(*folders):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in {"meshmark", "tests", "bench", "tools"}:
                found.setdefault(top, set()).add(str(path.relative_to(ROOT)))
    return found


owners = cache(packages_distributions)


def distributions(module: str) -> set[str]:
    names = {name.lower().replace("_", "-") for name in owners().get(module, [module])}
    return {PART_OF.get(name, name) for name in names}


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        pytest.param(("meshmark",), PACKAGE, id="package"),
        pytest.param(("tests", "bench", "tools"), DEV, id="tests"),
    ],
)
def test_imported_libraries_are_declared(folders: tuple[str, ...], extras: tuple[str, ...]) -> None:
    known = set().union(*(declared()[extra] for extra in extras))
    unknown = {name: places for name, places in imported(*folders).items() if not distributions(name) & known}
    assert unknown == {}


def test_declared_libraries_are_used() -> None:
    used = set().union(*(distributions(name) for name in imported("meshmark")))
    needed = set().union(*(names for extra, names in declared().items() if extra != "dev"))
    assert needed - used == set()


@pytest.mark.parametrize(("lock", "extras"), [("run", RUN), ("dev", DEV)])
def test_locks_are_made_from_what_is_declared(lock: str, extras: tuple[str, ...]) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    locked = {name.replace("-", ".") for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    wanted = {name.replace("-", ".") for extra in extras for name in declared()[extra]}
    assert wanted - locked == set(), "run requirements/update.sh"
