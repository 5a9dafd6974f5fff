"""Time and memory of the stages on large tables of small groups: each command in its own process.

python -m benchmarks.scale --groups 200000
python -m benchmarks.scale --groups 20000 --groups-per-part 1
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from grao_pipeline.schemas import GROUPS
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.writer import TableWriter

TOKENS = 12
"""Of a prompt and of every completion."""
OPEN = """
import sys
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.data.groups import TrainingSet
data = TrainingSet(*map(open_table, sys.argv[1:]))
data.check_fits(vocab_size=1 << 20, context_length=None)
[data[index] for index in range(0, len(data), max(1, len(data) // 64))]
"""
"""What a training does with its tables before its first step; the model is left out."""


@click.command()
@click.option("--groups", default=20_000, show_default=True, help="Groups of the table.")
@click.option("--samples", default=8, show_default=True, help="Samples of each group.")
@click.option("--groups-per-part", default=64, show_default=True, help="Groups of each part.")
@click.option("--place", type=click.Path(path_type=Path), help="Directory for the tables; by default a temporary one.")
def main(groups: int, samples: int, groups_per_part: int, place: Path | None) -> None:
    """Print a table of seconds and megabytes."""
    root = Path(tempfile.mkdtemp(prefix="grao-scale-", dir=place))
    os.environ["GRAO_CACHE"] = str(root / "cache")
    try:
        write_groups(root / "groups", groups, samples, groups_per_part)
        size = sum(file.stat().st_size for file in (root / "groups").iterdir()) >> 20
        parts = -(-groups // groups_per_part)
        click.echo(f"{groups:,} groups × {samples} samples, {parts:,} parts, {size} MB\n")
        click.echo("| command | seconds | CPU seconds | MB |\n|---|---|---|---|")
        tables = [str(root / name) for name in ("groups", "scores", "advantages")]
        score = ["score", *tables[:2], "--reward", "length", "--reward-arg", "target=6", "--no-use-cache"]
        advantages = ["advantages", tables[0], tables[2], "--scores", tables[1]]
        for arguments in (score, advantages):
            _measure(root, ["-m", "grao_pipeline", *arguments], arguments[0])
        time.sleep(3)  # what was written a moment ago is not remembered as verified
        for arguments in (score, score, advantages):
            _measure(root, ["-m", "grao_pipeline", *arguments], f"{arguments[0]}, finished")
        dry_run = [*advantages[:2], str(root / "none"), *advantages[3:], "--dry-run"]
        _measure(root, ["-m", "grao_pipeline", *dry_run], "advantages, dry run")
        evaluate = ["evaluate", *tables[:2], str(root / "evaluation")]
        _measure(root, ["-m", "grao_pipeline", *evaluate], "evaluate")
        _measure(root, ["-c", OPEN, tables[0], tables[2]], "training: tables opened, first step read")
        for table in tables:
            _measure(root, ["-m", "grao_pipeline", "inspect", table], f"inspect {Path(table).name}")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def write_groups(out: Path, groups: int, samples: int, groups_per_part: int) -> None:
    """A groups table of random tokens, part by part."""
    num_parts = -(-groups // groups_per_part)
    writer = TableWriter(str(out), Provenance("groups", "a" * 32, {}, {}), num_parts)
    for index in range(num_parts):
        generator = np.random.default_rng(index)
        first = index * groups_per_part
        rows = [_group(number, samples, generator) for number in range(first, min(groups, first + groups_per_part))]
        writer.write(index, pa.Table.from_pylist(rows, schema=GROUPS.arrow()))
    writer.finish()


def _group(number: int, samples: int, generator: np.random.Generator) -> dict[str, object]:
    ids = generator.integers(5, 30_000, (samples + 1, TOKENS)).tolist()
    texts = [" ".join(f"word{token % 97}" for token in row[: 4 + row[0] % 8]) for row in ids]
    return {
        "group_id": f"{number:032x}",
        "prompt_id": f"{number:032x}",
        "messages": [{"role": "user", "content": f"question {number}"}],
        "reference": texts[0],
        "metadata": "{}",
        "prompt_token_ids": ids[0],
        "reference_token_ids": ids[0],
        "completions": texts[1:],
        "completion_token_ids": ids[1:],
        "completion_logprobs": (-generator.random((samples, TOKENS))).tolist(),
        "finish_reasons": ["stop"] * samples,
        "policy": "p" * 32,
        "round": 0,
    }


def _measure(root: Path, arguments: list[str], name: str) -> None:
    started = time.monotonic()
    log = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
    )
    os.close(log)
    _, status, usage = os.wait4(process, 0)
    if status != 0:
        raise click.ClickException(f"{name}: {(root / 'log').read_text()[-2000:]}")
    seconds, cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    click.echo(f"| {name} | {seconds:.1f} | {cpu:.1f} | {usage.ru_maxrss >> 10} |")


if __name__ == "__main__":
    main()
