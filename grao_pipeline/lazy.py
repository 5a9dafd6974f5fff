"""Lazy exports of a package (PEP 562): a name loads its module when it is first used, not when the package is."""

import sys


class LazyExports:
    """The `__getattr__` and `__dir__` of a package that exports names of other modules.

    Example:
        _EXPORTS = LazyExports(__name__, {"score_groups": "grao_pipeline.scoring.score"})
        __getattr__, __dir__ = _EXPORTS.load, _EXPORTS.directory

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
        module = self.modules[name]
        __import__(module)  # importlib.import_module without loading importlib, for those who only import the package
        return getattr(sys.modules[module], name)

    def names(self) -> list[str]:
        """The exported names."""
        return sorted(self.modules)

    def directory(self) -> list[str]:
        """Everything that the package has, for `dir` and for completion in a notebook."""
        return sorted({*vars(sys.modules[self.package]), *self.modules})
