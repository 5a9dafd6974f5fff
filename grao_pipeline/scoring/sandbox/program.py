"""`program.py completion` and `program.py tests`: the two processes of a run, with nothing but the standard library.

The modules are those next to this file. Their packages are stand-ins, and gone when the code of others runs: it must
find no package, so that a verdict is the same everywhere.
"""

import importlib
import os
import sys
import types

PACKAGES = ("grao_pipeline", "grao_pipeline.scoring", "grao_pipeline.scoring.sandbox")


def main() -> None:
    for name in PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
        sys.modules[name] = package
    process = importlib.import_module(f"{PACKAGES[-1]}.{sys.argv[1]}_process")
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGES[0]]:
        del sys.modules[name]
    process.main()


if __name__ == "__main__":
    main()
