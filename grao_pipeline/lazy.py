"""What is loaded when it is first used: modules, and the exports of a package (PEP 562)."""

import sys


class LazyModule:
    """A module that is imported when one of its names is first used, e.g. in a thread while another one reads.

    Example:
        if TYPE_CHECKING:
            import pyarrow.compute as pc
        else:
            pc = LazyModule("pyarrow.compute")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        return _loaded(self._name, name)


def _loaded(module: str, name: str) -> object:
    __import__(module)  # importlib.import_module without loading importlib, for those who only import the package
    return getattr(sys.modules[module], name)


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
        return _loaded(self.modules[name], name)

    def names(self) -> list[str]:
        """The exported names."""
        return sorted(self.modules)

    def directory(self) -> list[str]:
        """Everything that the package has, for `dir` and for completion in a notebook."""
        return sorted({*vars(sys.modules[self.package]), *self.modules})
