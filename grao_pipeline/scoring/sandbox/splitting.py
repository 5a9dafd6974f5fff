"""Which tests can run in another process than the code that they test; it depends on the tests alone."""

import ast
import builtins
from collections.abc import Sequence

from grao_pipeline.scoring.sandbox.wire import words

SAME_PROCESS = frozenset(
    words(
        "globals locals vars input stdin stdout stderr StringIO redirect_stdout redirect_stderr modules _getframe "
        "settrace setprofile inspect gc mock unittest patch asyncio threading multiprocessing pickle dataclasses "
        "traceback builtins tracemalloc seed getsource signature __doc__ __dict__ __class__ __module__ __code__ "
        "__globals__ __closure__ __defaults__ __annotations__ __slots__ __mro__ __bases__ __subclasses__ completion "
        "__import__ import_module id weakref environ"
    )
)
"""Names with which a test looks into the process of the code."""
SINGLETONS = (None, True, False, ...)


def same_process_reason(sources: Sequence[str]) -> str | None:
    """Why tests need the process of the code, e.g. `class`; None where they do not."""
    for source in sources:
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        for node in nodes:
            reason = _reason(node)
            if reason is not None:
                return reason
    return None


def used_names(sources: Sequence[str]) -> list[str]:
    """The names that tests read, sorted."""
    names: set[str] = set()
    for source in sources:
        try:
            nodes = ast.walk(ast.parse(source))
            names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return sorted(names)


def _reason(node: ast.AST) -> str | None:
    if isinstance(node, ast.ClassDef):
        return "class"
    if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
        return "async"
    if isinstance(node, ast.Global):
        return "global"
    if isinstance(node, ast.Compare) and any(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops):
        operands = [node.left, *node.comparators]
        if not any(_is_the_same_in_both(operand) for operand in operands):
            return "is"
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [part for alias in node.names for part in alias.name.split(".")]
        names += (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else []
        return next((name for name in names if name in SAME_PROCESS), None)
    if isinstance(node, ast.Name) and node.id in SAME_PROCESS:
        return node.id
    if isinstance(node, ast.Attribute) and node.attr in SAME_PROCESS:
        return node.attr
    return None


def _is_the_same_in_both(operand: ast.expr) -> bool:
    """Whether an operand of `is` is one object in every process: None, a built-in type, `type(…)`."""
    if isinstance(operand, ast.Constant):
        return operand.value in SINGLETONS
    if isinstance(operand, ast.Call):
        return isinstance(operand.func, ast.Name) and operand.func.id == "type"
    return isinstance(operand, ast.Name) and isinstance(getattr(builtins, operand.id, None), type)
