"""Lazy exports of a package (PEP 562): a name loads its module when it is first used, not when the package is."""

import importlib


class LazyExports:
    """The `__getattr__` and `__dir__` of a package that exports names of other modules.

    Example:
        _EXPORTS = LazyExports(__name__, {"score_groups": "grao_pipeline.scoring.score"})
        __getattr__, __dir__ = _EXPORTS.load, _EXPORTS.names

    Type checkers do not run this: the package imports the same names under `if TYPE_CHECKING`.
    """

    def __init__(self, package: str, modules: dict[str, str]) -> None:
        self.package = package
        self.modules = modules
        """Name → the module that defines it."""

    def load(self, name: str) -> object:
        """The object behind a name.

        Raises:
            AttributeError: the package exports no such name.
        """
        if name not in self.modules:
            raise AttributeError(f"module '{self.package}' has no attribute '{name}'")
        return getattr(importlib.import_module(self.modules[name]), name)

    def names(self) -> list[str]:
        """All exported names, for `dir` and for completion in an editor or a notebook."""
        return sorted(self.modules)
