"""`python stages/import_groups.py …` is `grao import …`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's names would shadow packages of the same name

from grao_pipeline.cli.import_groups import import_groups

if __name__ == "__main__":
    import_groups()
