"""Rounds killed at random moments against the same rounds undisturbed: equal outputs, nothing committed redone.

    OMP_NUM_THREADS=1 python -m benchmarks.kill_rounds
    OMP_NUM_THREADS=1 python -m benchmarks.kill_rounds --resample --rounds 1 --kills 10 --held-out 0

SIGKILL goes to the process of the rounds (its stage then stops by itself) and, every second time, to the stage as well.
The reward appends every sequence that it judges to a file. The exit code is 1 if a claim does not hold.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq
import yaml

from benchmarks.common import describe_machine, make_model, print_table, write_prompts
from grao_pipeline.models.manifest import MODEL_MANIFEST
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.manifest_file import MANIFEST, read_manifest

REWARD = """
import hashlib, json, os

def length(completions, prompts):
    file = os.open(os.environ["JUDGED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for completion, messages in zip(completions, prompts):
        text = json.dumps([messages, completion], sort_keys=True)
        os.write(file, (hashlib.sha256(text.encode()).hexdigest() + "\\n").encode())
    os.close(file)
    return [float(len(set(completion))) for completion in completions]

def lucky(completions, prompts):
    return [float(count % 4 == 0) for count in length(completions, prompts)]
"""
TIMES = ("seconds", "tokens_per_second", "flops_utilization")


@dataclass
class Run:
    """One run, with a separate directory and a separate cache of judgements."""

    root: Path
    config: Path
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Path of every committed part → its inode and time when it was first seen."""
    changed: int = 0
    committed: list[tuple[int, set[str]]] = field(default_factory=list)
    """Per kill: lines of the log of judgements until then, and the sequences in committed parts."""

    @property
    def store(self) -> Path:
        return self.root / "run" / "store"

    def start(self) -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            "GRAO_CACHE": str(self.root / "cache"),
            "JUDGED": str(self.root / "judged"),
            "PYTHONPATH": os.pathsep.join([str(self.config.parent), os.getcwd()]),
        }
        command = [sys.executable, "-m", "grao_pipeline", "rounds", "run", str(self.config)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self) -> None:
        process = self.start()
        _, stderr = process.communicate()
        if process.returncode != 0:
            raise click.ClickException(stderr.decode())
        self.look()

    def kill_after(self, seconds: float, whole_tree: bool) -> bool:
        """Kill the run after some seconds; whether it was still running then."""
        process = self.start()
        time.sleep(seconds)
        stages = children(process.pid) if whole_tree else []
        alive = process.poll() is None
        for number in [process.pid, *stages] if alive else []:
            os.kill(number, signal.SIGKILL)
        process.communicate()  # returns once the stage has ended too
        self.look()
        self.committed.append((len(self.judged()), self.sequences()))
        return alive

    def look(self) -> None:
        """Count the committed parts that changed since they were first seen."""
        for path in sorted(self.store.glob("*/*/part-*.parquet")):
            status = path.stat()
            version = (status.st_ino, status.st_mtime_ns)
            self.changed += self.parts.setdefault(str(path), version) != version

    def judged(self) -> list[str]:
        path = self.root / "judged"
        return path.read_text().split() if path.exists() else []

    def sequences(self) -> set[str]:
        """The sequences in committed parts of scores, as the keys that the reward writes."""
        keys = set()
        for path in self.store.glob("score/*/part-*.parquet"):
            provenance = json.loads(pq.read_schema(path).metadata[b"grao"])
            groups = self.store / "generate" / provenance["inputs"]["groups"] / path.name
            for row in pq.read_table(groups, columns=["messages", "completions", "reference"]).to_pylist():
                for text in [*row["completions"], row["reference"]]:
                    key = json.dumps([row["messages"], text], sort_keys=True)
                    keys.add(hashlib.sha256(key.encode()).hexdigest())
        return keys

    def outputs(self) -> dict[str, Any]:
        """Checksums of all parts, model files and evaluations, and the metrics of every training step."""
        outputs: dict[str, Any] = {}
        for path in sorted(self.store.glob("*/*/*")):
            name = str(path.relative_to(self.store))
            if path.name == MANIFEST:
                manifest = read_manifest(Directory(path.parent))
                outputs[name] = None if manifest is None else [asdict(part) for part in manifest.parts]
            elif path.name == MODEL_MANIFEST:
                outputs[name] = json.loads(path.read_text())["files"]
            elif path.name == "metrics.json":
                outputs[name] = json.loads(path.read_text())
            elif path.name == "metrics.jsonl":
                steps = [json.loads(line) for line in path.read_text().splitlines()]
                outputs[name] = [{k: v for k, v in step.items() if k not in TIMES} for step in steps]
        return outputs


def children(parent: int) -> list[int]:
    """Process ids of the children of a process and of their children (Linux)."""
    numbers = [int(number) for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return [*numbers, *(child for number in numbers for child in children(number))]


def make_run(root: Path, model: Path, prompts: tuple[str, str | None], rounds: int, resample: bool) -> Run:
    root.mkdir()
    config: dict[str, Any] = {
        "output": str(root / "run"),
        "model": str(model),
        "rounds": rounds,
        "prompts": {"train": prompts[0], **({"eval": prompts[1]} if prompts[1] else {})},
        "generate": {
            "engine": "transformers",
            "samples": 4,
            "max_new_tokens": 24,
            "temperature": 1.0,
            "prompts_per_part": 4,
            "batch_size": 2,
        },
        "score": {"reward": "counted_reward:length"},
        "train": {"learning_rate": 1e-3, "groups_per_step": 8, "checkpoint_steps": 2, "epochs": 4},
        "evaluate": {"generate": {"samples": 2}, "bootstrap_samples": 200},
    }
    if resample:
        config |= {"score": {"reward": "counted_reward:lucky"}, "resample": {"attempts": 3, "samples": 2}}
    path = root.parent / f"{root.name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return Run(root, path)


@click.command()
@click.option("--kills", default=20, show_default=True, help="How often the run is killed.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of the run.")
@click.option("--latest", default=9.0, show_default=True, help="Latest moment of a kill, in seconds after the start.")
@click.option("--prompts", "num_prompts", default=24, show_default=True, help="Prompts to train on.")
@click.option("--held-out", default=8, show_default=True, help="Prompts to evaluate on; 0 for no evaluation.")
@click.option("--resample", is_flag=True, help="Sample groups without a learning signal further, in passes.")
@click.option("--seed", default=0, show_default=True, help="Seed of the moments.")
def main(kills: int, rounds: int, latest: float, num_prompts: int, held_out: int, resample: bool, seed: int) -> None:
    """Print one table; the exit code is 1 if the two runs differ."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "counted_reward.py").write_text(REWARD)
        model = make_model(root / "model", 64, 2, 512, 256)
        evaluated = write_prompts(root / "held_out", held_out, 6, 1) if held_out else None
        prompts = (write_prompts(root / "train", num_prompts, 6, 0), evaluated)
        started = time.perf_counter()
        alone = make_run(root / "alone", model, prompts, rounds, resample)
        alone.finish()
        seconds = time.perf_counter() - started
        killed = make_run(root / "killed", model, prompts, rounds, resample)
        done = sum(killed.kill_after(rng.uniform(1.5, latest), kill % 2 == 1) for kill in range(kills))
        killed.finish()
        rows, holds = compare(alone, killed)
    print_table(
        f"{rounds} rounds, {done} of {kills} kills before the end, seed {seed}; undisturbed {seconds:.0f} s. "
        f"{describe_machine()}",
        ["claim", "number"],
        [["kills that met a running run", done], *rows],
    )
    sys.exit(0 if holds and done else 1)


def compare(alone: Run, killed: Run) -> tuple[list[list[object]], bool]:
    """Rows of the table, and whether every number that must be 0 is 0."""
    expected, outputs = alone.outputs(), killed.outputs()
    differing = [name for name in expected.keys() | outputs.keys() if expected.get(name) != outputs.get(name)]
    judged = killed.judged()
    redone = sum(key in known for lines, known in killed.committed for key in judged[lines:])
    judged_twice = sum(count - 1 for count in Counter(judged).values())
    rows: list[list[object]] = [
        ["outputs compared (parts of tables, model files, metrics)", len(expected)],
        ["outputs that differ", len(differing)],
        ["committed parts", len(killed.parts)],
        ["committed parts that were written again", killed.changed],
        ["sequences judged, undisturbed", len(alone.judged())],
        ["sequences judged, killed", len(judged)],
        ["committed judgements repeated", redone],
        ["judgements in flight at a kill, repeated", judged_twice],
    ]
    return rows, not differing and not killed.changed and not redone


if __name__ == "__main__":
    main()
