"""How far a half-done output is: what the stages have committed."""

from pathlib import Path


def parts_made(out: Path | None) -> int:
    """Committed parts of a table."""
    return 0 if out is None else len(list(out.glob("part-*.parquet")))


def steps_made(out: Path | None) -> int:
    """Optimizer steps in the newest checkpoint of an unfinished training."""
    found = [] if out is None else list(out.glob("checkpoints/step-*"))
    return max((int(path.stem.removeprefix("step-")) for path in found), default=0)
