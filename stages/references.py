"""`python stages/references.py …` is `grao references …`: to start this stage by path, also under torchrun."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's names would shadow packages of the same name

from grao_pipeline.__main__ import run

if __name__ == "__main__":
    run("references")
