"""The source that a user's function or class uses, for fingerprints: itself and what it names in its module.

Comments, layout, docstrings and unrelated functions do not count. Of another module of the user's, one in the same
directory or below it, the same holds for what is imported by name; all of it counts where it is imported as a whole.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

from grao_pipeline.fingerprints import fingerprint

DYNAMIC = {"globals", "locals", "eval", "exec", "__import__", "vars"}
"""Where one of these is called, any name may be used: all of the module counts."""
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def used_source(plugin: Callable[..., object]) -> str | None:
    """A fingerprint of the source that a function or class uses; None where it has no file."""
    plugin = inspect.unwrap(plugin)
    module = inspect.getmodule(plugin)
    path = _file_of(module) if module is not None else None
    if module is None or path is None:
        return None
    name = getattr(plugin, "__qualname__", "").split(".")[0]
    pieces = _Pieces(path.parent)
    pieces.add(module, {name} if name.isidentifier() else None)
    return fingerprint(sorted(pieces.texts))


class _Pieces:
    """The statements that are used, of one module and those that it imports from its directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: set[tuple[str, str]] = set()
        self.texts: set[str] = set()

    def add(self, module: ModuleType, names: set[str] | None) -> None:
        """Add what defines `names` in a module, and what that uses; None stands for all of it."""
        path = _file_of(module)
        if path is None or not path.is_relative_to(self._root):
            return
        wanted = {(module.__name__, name) for name in names or {"*"}}
        if wanted <= self._seen:
            return
        self._seen |= wanted
        statements = [one for line in ast.parse(path.read_text("utf-8")).body for one in _single_imports(line)]
        used = set(statements) if names is None else _used(statements, names)
        if names is not None and (not used or _mentioned(used) & DYNAMIC):
            used = set(statements)
        for statement in used:
            for imported, imported_names in _imports(statement, module):
                self.add(imported, imported_names)
        self.texts |= {ast.unparse(_without_docstrings(statement)) for statement in used}


def _single_imports(statement: ast.stmt) -> list[ast.stmt]:
    """`from a import b, c` as two statements, since only one of the names may be used."""
    if isinstance(statement, ast.Import):
        return [ast.Import([alias]) for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        return [ast.ImportFrom(statement.module, [alias], statement.level) for alias in statement.names]
    return [statement]


def _used(statements: list[ast.stmt], names: set[str]) -> set[ast.stmt]:
    """The top-level statements that define these names or, if they define nothing, mention them; and so on."""
    used: set[ast.stmt] = set()
    names = set(names)
    while True:
        new = {statement for statement in statements if statement not in used and _concerns(statement, names)}
        if not new:
            return used
        used |= new
        names |= _mentioned(new)


def _concerns(statement: ast.stmt, names: set[str]) -> bool:
    if isinstance(statement, _DEFINITIONS):
        return statement.name in names
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return any(
            (alias.asname or alias.name.split(".")[0]) in names or alias.name == "*" for alias in statement.names
        )
    return bool(_mentioned([statement]) & names)


def _mentioned(statements: Iterable[ast.stmt]) -> set[str]:
    """All names in statements, read or written."""
    return {node.id for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _imports(statement: ast.stmt, module: ModuleType) -> Iterator[tuple[ModuleType, set[str] | None]]:
    """(module, names or None for all of it) of the imports anywhere in a statement."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in sys.modules:
                    yield sys.modules[alias.name], None
        elif isinstance(node, ast.ImportFrom):
            package = (module.__package__ or "").split(".")
            parents = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*filter(None, parents), *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{name}.{alias.name}" in sys.modules:
                    yield sys.modules[f"{name}.{alias.name}"], None
                elif name in sys.modules:
                    yield sys.modules[name], None if alias.name == "*" else {alias.name}


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        if isinstance(node, _DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return statement


def _file_of(module: ModuleType) -> Path | None:
    path = getattr(module, "__file__", None)
    return Path(path).resolve() if path and path.endswith(".py") else None
