"""What a published method is: its source, its formula and what it needs, declared next to its code.

`docs/methods.md` and `grao plugins show NAME` are made from these declarations and from the docstrings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Plugin = TypeVar("Plugin", bound=Callable[..., Any])


@dataclass(frozen=True)
class Method:
    """The declaration of a method.

    Attributes:
        source: where the formula is from, e.g. `arXiv 2508.07750`.
        formula: one line or a few.
        needs: what it reads from the tables beyond tokens and rewards.
        options: further words of its command, e.g. `--keep-zero-variance`.
    """

    source: str
    formula: str
    needs: str = ""
    options: str = ""


def method(source: str, formula: str, needs: str = "", options: str = "") -> Callable[[Plugin], Plugin]:
    """Declare the method of a function or class.

    Example:
        @method("arXiv 2506.02355", "R_i (1 − β rank_i)", needs="log-probs of the samples")
        def unlikely(view, *, statistics): ...
    """

    def declared(plugin: Plugin) -> Plugin:
        plugin.method = Method(source, formula, needs, options)  # type: ignore[attr-defined]  # read by `method_of`
        return plugin

    return declared


def method_of(plugin: object) -> Method | None:
    """The declaration of a plug-in's own method; a subclass does not inherit it."""
    declared = vars(plugin).get("method") if hasattr(plugin, "__dict__") else None
    return declared if isinstance(declared, Method) else None


def traits(**values: object) -> Callable[[Plugin], Plugin]:
    """Set what others must know of a plain function, as attributes.

    Example: `@traits(before_statistics=True)`
    """

    def with_traits(plugin: Plugin) -> Plugin:
        for name, value in values.items():
            setattr(plugin, name, value)
        return plugin

    return with_traits
