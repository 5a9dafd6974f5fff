"""`python stages/prompts.py …` is `grao prompts …`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's names would shadow packages of the same name

from grao_pipeline.cli.prompts import prompts

if __name__ == "__main__":
    prompts()
