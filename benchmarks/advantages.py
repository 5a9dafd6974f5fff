"""`grao advantages` end to end against bare Polars and pandas, on generated tables that follow the contract.

    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.advantages
    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.advantages --samples 100000 --no-transform-function

Each side runs in a separate process, timed from its start; its memory is the peak that the kernel reports. CPU seconds
hardly depend on what else the machine does.

- bare Polars: scan → sink (zstd) of the columns that `grao advantages` reads of groups and scores, nothing computed.
- pandas, built-in: flat rows, `groupby("group_id").transform("mean")` and `transform("std", ddof=0)`, flat Parquet out.
- pandas, function: the same, the estimator as the function that `transform` calls for each group.
"""

import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from benchmarks.common import describe_machine, installed_environment, print_table
from grao_pipeline.schemas import MESSAGES
from grao_pipeline.storage.manifest import Provenance
from grao_pipeline.storage.writer import TableWriter

GROUP_SIZE = 8
VOCABULARY = 150_000
HEADINGS = ["samples", "side", "seconds", "µs a sample", "CPU s", "peak GiB", "time / ours", "CPU / ours"]

BARE_POLARS = """
import sys
import polars as pl
groups, scores, out = sys.argv[1:]
of_groups = ["group_id", "finish_reasons", "reference_token_ids"]
of_scores = ["group_id", "rewards", "reference_reward"]
for number, (table, names) in enumerate([(groups, of_groups), (scores, of_scores)]):
    pl.scan_parquet(f"{table}/*.parquet").select(names).sink_parquet(f"{out}-{number}.parquet", compression="zstd")
"""

PANDAS = """
import glob
import sys
import pandas as pd
groups, scores, out, function = sys.argv[1:]
table = pd.read_parquet(sorted(glob.glob(f"{scores}/*.parquet")), columns=["group_id", "rewards", "reference_reward"])
samples = table[["group_id", "rewards"]].explode("rewards").rename(columns={"rewards": "reward"})
references = table[["group_id", "reference_reward"]].rename(columns={"reference_reward": "reward"})
flat = pd.concat([references, samples], ignore_index=True)
flat["reward"] = flat["reward"].astype("float64")
rewards = flat.groupby("group_id", sort=False)["reward"]
if function == "function":
    flat["advantage"] = rewards.transform(lambda r: (r - r.mean()) / r.std(ddof=0))
else:
    flat["advantage"] = (flat["reward"] - rewards.transform("mean")) / rewards.transform("std", ddof=0)
flat.to_parquet(out, compression="zstd")
"""


@dataclass(frozen=True)
class Measured:
    """Time and memory of one process."""

    seconds: float
    cpu_seconds: float
    peak_gib: float


def run(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
    """Run a process; its wall time and its peak of resident memory."""
    start, before, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    while process.poll() is None:
        # Not rusage, which starts from the parent's peak at the fork.
        match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        peak = max(peak, int(match[1]) if match else 0)
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise click.ClickException(f"{command[:4]} failed: status {process.returncode}.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(seconds, cpu_seconds, peak / 2**20)


def hex_ids(rng: np.random.Generator, count: int) -> pa.Array:
    """[count] strings of 32 hex digits."""
    digits = rng.bytes(16 * count).hex().encode()
    offsets = np.arange(count + 1, dtype=np.int32) * 32
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(digits)])


def lists(lengths: np.ndarray, values: pa.Array) -> pa.Array:
    """[N] lists of these lengths, of consecutive values."""
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), values)


def tokens(rng: np.random.Generator, count: int, shortest: int, longest: int) -> tuple[np.ndarray, pa.Array]:
    """Lengths, and [count] lists of random token ids of these lengths."""
    lengths = rng.integers(shortest, longest + 1, count)
    return lengths, lists(lengths, pa.array(rng.integers(0, VOCABULARY, lengths.sum(), dtype=np.int32)))


def one_part(rng: np.random.Generator, texts: pa.Array, count: int) -> tuple[pa.Table, pa.Table]:
    """Groups of 8 samples of 8 to 16 tokens with log-probs, and their scores; one reward in a hundred is missing."""
    samples, eights = count * GROUP_SIZE, np.full(count, GROUP_SIZE)
    lengths, ids = tokens(rng, samples, 8, 16)
    logprobs = lists(lengths, pa.array(-rng.exponential(1.0, lengths.sum()).astype(np.float32)))
    reasons = pa.array(["stop", "length"]).take(pa.array((rng.random(samples) < 0.1).astype(np.int32)))

    def text(number: int) -> pa.Array:
        return texts.take(pa.array(rng.integers(0, len(texts), number)))

    turn = {"role": pa.array(["user"] * count), "content": text(count)}
    message = pa.StructArray.from_arrays(
        [turn.get(field.name, pa.nulls(count, field.type)) for field in MESSAGES.value_type],
        fields=list(MESSAGES.value_type),
    )
    group_ids = hex_ids(rng, count)
    columns = {
        "group_id": group_ids,
        "prompt_id": hex_ids(rng, count),
        "messages": lists(np.ones(count), message),
        "reference": text(count),
        "metadata": pa.array(["{}"] * count),
        "prompt_token_ids": tokens(rng, count, 12, 24)[1],
        "reference_token_ids": tokens(rng, count, 8, 16)[1],
        "completions": lists(eights, text(samples)),
        "completion_token_ids": lists(eights, ids),
        "completion_logprobs": lists(eights, logprobs),
        "finish_reasons": lists(eights, reasons),
        "policy": pa.array(["f" * 32] * count),
        "round": pa.array(np.zeros(count, dtype=np.int32)),
    }
    missing = rng.random(samples) < 0.01
    scores = {
        "group_id": group_ids,
        "rewards": lists(eights, pa.array(rng.normal(size=samples).astype(np.float32), mask=missing)),
        "reference_reward": pa.array(rng.normal(size=count).astype(np.float32)),
        "statuses": lists(eights, pa.array(["ok", "error"]).take(pa.array(missing.astype(np.int32)))),
    }
    return pa.table(columns), pa.table(scores)


def write_tables(place: Path, num_groups: int, groups_per_part: int) -> tuple[str, str]:
    """Groups and scores with manifests; their URLs."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2000, (20_000, 10))
    texts = pa.array([" ".join(f"word{word}" for word in row) for row in words])
    num_parts = -(-num_groups // groups_per_part)
    groups, scores = str(place / "groups"), str(place / "scores")
    of_groups = TableWriter(groups, Provenance("groups", "a" * 32, {}, {}), num_parts)
    of_scores = TableWriter(scores, Provenance("scores", "b" * 32, {"name": "r"}, {"groups": "a" * 32}), num_parts)
    for index in range(num_parts):
        count = min(groups_per_part, num_groups - index * groups_per_part)
        groups_part, scores_part = one_part(rng, texts, count)
        of_groups.write(index, groups_part)
        of_scores.write(index, scores_part)
    of_groups.finish()
    of_scores.finish()
    return groups, scores


def compare(place: Path, num_samples: int, groups_per_part: int, pandas: Sequence[str]) -> list[list[str]]:
    """One row per side, ours first."""
    groups, scores = write_tables(place, num_samples // GROUP_SIZE, groups_per_part)
    command = [
        sys.executable,
        "-m",
        "grao_pipeline",
        "advantages",
        groups,
        str(place / "out"),
        "--scores",
        scores,
        "--json",
    ]
    # The tables were just written: read them once, so that neither side pays for the disk.
    bare = [sys.executable, "-c", BARE_POLARS, groups, scores]
    environment = installed_environment()
    run([*bare, str(place / "warm")], environment)
    ours, others = run(command, environment), run([*bare, str(place / "bare")], environment)
    sides = {"grao advantages": ours, "bare Polars": others}
    for kind in pandas:
        out = str(place / f"{kind}.parquet")
        sides[f"pandas, {kind}"] = run([sys.executable, "-c", PANDAS, groups, scores, out, kind], environment)
    rows = []
    for name, side in sides.items():
        what = f"{num_samples:,}, {groups_per_part:,} groups a part"
        row = [what, name, f"{side.seconds:.2f}", f"{side.seconds / num_samples * 1e6:.3f}"]
        ratios = [f"{side.seconds / ours.seconds:.2f}", f"{side.cpu_seconds / ours.cpu_seconds:.2f}"]
        rows.append([*row, f"{side.cpu_seconds:.2f}", f"{side.peak_gib:.2f}", *ratios])
        click.echo(" · ".join(rows[-1]), err=True)
    return rows


@click.command()
@click.option("--samples", multiple=True, type=int, default=[100_000, 1_000_000, 10_000_000], show_default=True)
@click.option("--groups-per-part", default=8192, show_default=True)
@click.option("--small-parts", default=64, show_default=True, help="Groups per part of one more run; 0 leaves it out.")
@click.option("--transform-function/--no-transform-function", default=True, show_default=True)
def main(samples: tuple[int, ...], groups_per_part: int, small_parts: int, transform_function: bool) -> None:
    """Time `grao advantages` against bare Polars and pandas."""
    click.echo(describe_machine())
    rows = []
    sizes = [(count, groups_per_part) for count in samples]
    if small_parts:
        sizes.insert(0, (min(1_000_000, max(samples)), small_parts))
    for number, (count, per_part) in enumerate(sizes):
        last = number == len(sizes) - 1
        kinds = ["built-in", "function"] if last and transform_function else ["built-in"]
        with tempfile.TemporaryDirectory() as place:
            rows += compare(Path(place), count, per_part, kinds)
    print_table("Advantages", HEADINGS, rows)


if __name__ == "__main__":
    main()
