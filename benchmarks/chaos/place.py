"""What the campaigns work on: a tiny model, small tables of every kind, and commands in forked processes."""

import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grao_pipeline.testing import make_tiny_model
from tests.commands import Command

TIME_LIMIT = 120.0
"""Seconds after which a command hangs: the slowest takes a few on an idle core."""
PROMPTS = 48
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DEACTIVATE_ASYNC_LOAD": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: its exit code, negative for a signal; None where it was ended for taking too long.
    """

    code: int | None
    stdout: str
    stderr: str

    @property
    def fault(self) -> str | None:
        """What no command may do, whatever it is given; None where it did nothing of the kind."""
        if self.code is None:
            return "HANG"
        if "Traceback (most recent call last)" in self.stderr:
            return "TRACEBACK"
        return "CRASH" if self.code < 0 else None

    @property
    def last_line(self) -> str:
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else ""


class Place:
    """A directory with inputs for every stage; `close` it at the end.

    Attributes:
        base: the directory of what follows; nothing in it may be changed.
        model, trained, adapter: a base model, one that was trained from it with `TRAIN`, and an adapter on it.
        prompts, groups, scores, advantages, logprobs: tables of 48 prompts with four samples each, in six parts.
        evaluation: metrics of the groups.
        rows: a JSONL file of questions and answers.
        samples: a JSONL file of sampled completions, for `grao import`.
        cache: a cache of judgements, which holds those of `scores`.
    """

    GENERATE = ("--engine", "transformers", "--samples", "4", "--max-new-tokens", "8", "--prompts-per-part", "8")
    SCORE = ("--reward", "length", "--reward-arg", "target=6")
    ADAPTER = ("--lora-rank", "4", "--save-adapter", "--save-optimizer")
    TRAIN = ("--groups-per-step", "8", "--learning-rate", "1e-3", "--checkpoint-steps", "1", "--device", "cpu")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "base"
        self.model, self.trained = self.base / "model", self.base / "trained"
        self.prompts, self.groups = self.base / "prompts", self.base / "groups"
        self.scores, self.advantages = self.base / "scores", self.base / "advantages"
        self.adapter, self.logprobs = self.base / "adapter", self.base / "logprobs"
        self.evaluation, self.cache = self.base / "evaluation", self.base / "cache.sqlite"
        self.rows, self.samples = self.base / "rows.jsonl", self.base / "samples.jsonl"
        self._numbers = itertools.count()
        self._make()

    @property
    def tables(self) -> list[Path]:
        """One of every kind, each with the name of its kind."""
        return [self.prompts, self.groups, self.scores, self.advantages, self.logprobs]

    @property
    def outputs(self) -> list[Path]:
        """What stages have written."""
        return [*self.tables, self.evaluation, self.trained, self.adapter]

    def fresh(self, name: str = "trial") -> Path:
        """A new empty directory; delete it with `shutil.rmtree` when the trial is over."""
        directory = self.root / f"{name}-{next(self._numbers)}"
        directory.mkdir()
        return directory

    def copy(self, path: Path, to: Path) -> Path:
        """A copy of a table, model or file, in the directory `to`."""
        if path.is_dir():
            return Path(shutil.copytree(path, to / path.name))
        return Path(shutil.copy(path, to / path.name))

    def start(self, *arguments: object, environment: Mapping[str, str] | None = None) -> Command:
        """Start `grao …` in a forked process that has imported torch already."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRAO_")}
        private = {"GRAO_CACHE": str(self.root / "cache-of-trials")}
        return Command(*arguments, environment=inherited | ENVIRONMENT | private | dict(environment or {}))

    def run(
        self, *arguments: object, environment: Mapping[str, str] | None = None, seconds: float = TIME_LIMIT
    ) -> Ended:
        """`grao …`, until it ends or the time is over."""
        return ended(self.start(*arguments, environment=environment), seconds)

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _make(self) -> None:
        self.base.mkdir(parents=True)
        make_tiny_model(self.model)
        random_ = random.Random(0)
        numbers = [(random_.randrange(90), random_.randrange(9)) for _ in range(PROMPTS)]
        questions = [f"What is {a} and {b}? ({place})" for place, (a, b) in enumerate(numbers)]
        pairs = [{"question": text, "answer": f"{a + b}"} for text, (a, b) in zip(questions, numbers, strict=True)]
        self.rows.write_text("".join(f"{json.dumps(row)}\n" for row in pairs))
        sampled = [
            {"prompt": text, "completions": [f"{a + b}", f"{a - b} I think"], "rewards": [1.0, 0.0]}
            for text, (a, b) in zip(questions, numbers, strict=True)
        ]
        self.samples.write_text("".join(f"{json.dumps(row)}\n" for row in sampled))
        train = ("train", self.groups, self.advantages, "--model", self.model)
        for arguments in (
            ("prompts", self.rows, self.prompts),
            ("generate", self.prompts, self.groups, "--model", self.model, *self.GENERATE),
            ("score", self.groups, self.scores, *self.SCORE, "--cache", self.cache),
            ("advantages", self.groups, self.advantages, "--scores", self.scores),
            ("evaluate", self.groups, self.scores, self.evaluation),
            (*train, self.trained, *self.TRAIN),
            (*train, self.adapter, *self.TRAIN, *self.ADAPTER),
            ("logprobs", self.groups, self.logprobs, "--model", self.trained),
        ):
            end = self.run(*arguments)
            if end.code != 0:
                raise RuntimeError(f"grao {arguments[0]}: {end.stderr}")


def ended(command: Command, seconds: float = TIME_LIMIT) -> Ended:
    """Wait until a command ends; end it when the time is over."""
    deadline = time.monotonic() + seconds
    command.wait(max(0.0, deadline - time.monotonic()))
    if command.poll() is None:
        command.kill()
        stdout, stderr = command.communicate()
        return Ended(None, stdout, stderr)
    stdout, stderr = command.communicate()
    return Ended(command.returncode, stdout, stderr)
