"""One bit flipped, or the end cut off, in every kind of file; then whatever reads that file.

Damage must be named, mended, or without any effect on what comes out.
"""

import contextlib
import io
import itertools
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from click.testing import CliRunner

from benchmarks.chaos.content import content
from benchmarks.chaos.place import Place
from benchmarks.chaos.trial import Trial
from grao_pipeline.cli.main import main
from grao_pipeline.errors import GraoError, Interrupted
from grao_pipeline.evaluation.evaluate import read_evaluation
from grao_pipeline.models.source import load_causal_lm, load_config, load_tokenizer, locate_model
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record, write_record
from grao_pipeline.storage.manifest_file import MANIFEST, delete_manifest
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import UNFINISHED, TableWriter
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model

SECONDS = 30
"""A reader that takes longer hangs."""
CUT_EVERY = 4
"""Every fourth damage is a cut; the others are flipped bits."""
RECEIPT = "output.receipt.json"
STEPS = 3
"""Of an interrupted training."""


@dataclass(frozen=True)
class Kind:
    """A kind of file, and what reads it.

    Attributes:
        what: the row of the table.
        intact: the directory that holds the files.
        pattern: of the files, in it.
        read: reads a directory; what it returns is compared with what the intact one gives.
        writes: the reader changes the directory, which is then copied for each trial.
        every: its turn comes once in this many rounds; for slow readers.
    """

    what: str
    intact: Path
    pattern: str
    read: Callable[[Path], object]
    writes: bool = False
    every: int = 1


def trials(place: Place, seed: int) -> Iterator[Trial]:
    """Every kind in turn, fast ones several times."""
    kinds = _kinds(place)
    expected: dict[str, object] = {}
    for number in itertools.count():
        for kind in kinds:
            if number % kind.every == 0:
                if kind.what not in expected:
                    expected[kind.what] = kind.read(Path(shutil.copytree(kind.intact, place.fresh() / "out")))
                yield _trial(place, kind, random.Random(f"{kind.what} {seed} {number}"), expected[kind.what], number)


def _kinds(place: Place) -> list[Kind]:
    unfinished = _unfinished_scores(place)
    interrupted = _interrupted_training(place)

    def table(kind: str) -> Callable[[Path], object]:
        return lambda directory: open_table(str(directory), kind).arrow().to_pylist()

    def score_again(out: Path) -> object:
        score_groups(str(place.groups), str(out), _score_options(out.parent / "cache.sqlite"))
        return content(out)

    def score_with_cache(directory: Path) -> object:
        score_groups(str(place.groups), str(directory / "out"), _score_options(directory / "cache.sqlite"))
        return content(directory / "out")

    def train_again(out: Path) -> object:
        progress = RecordedProgress()
        _train(place, out, progress)
        here, there = content(out), content(place.trained)
        if any("metrics.jsonl is damaged" in warning for warning in progress.warnings):
            del here["metrics.jsonl"], there["metrics.jsonl"]
            if here == there:  # weights, and totals in the manifest
                raise GraoError("metrics.jsonl")
        return here

    def sampled_rows(out: Path) -> object:
        """The rows that a stopped sampling saved of its second part, as a run that resumes takes them."""
        progress = RecordedProgress()
        writer = TableWriter(
            str(out), open_table(str(place.groups)).provenance, open_table(str(place.groups)).num_parts, progress
        )
        rows = writer.unfinished(1)
        if rows is None:
            raise GraoError(" ".join(progress.warnings))
        return rows.to_pylist()

    def inspect(directory: Path) -> object:
        return _command("inspect", directory).replace(str(directory), "")

    cached = place.fresh("cached")
    shutil.copy(place.cache, cached / "cache.sqlite")
    return [
        Kind("groups: part", place.groups, "part-*.parquet", table("groups")),
        Kind("prompts: part", place.prompts, "part-*.parquet", table("prompts")),
        Kind("scores: part", place.scores, "part-*.parquet", table("scores")),
        Kind("advantages: part", place.advantages, "part-*.parquet", table("advantages")),
        Kind("groups: manifest", place.groups, MANIFEST, table("groups")),
        Kind("scores: manifest, then the same command", place.scores, MANIFEST, score_again, True, 4),
        Kind("scores: part, then the same command", place.scores, "part-*.parquet", score_again, True, 4),
        Kind("scores: part of an unfinished table", unfinished, "part-*.parquet", score_again, True, 4),
        Kind("groups: unfinished part", _stopped_sampling(place), f"*{UNFINISHED}", sampled_rows, True),
        Kind("rounds: receipt", _receipt(place), RECEIPT, lambda out: read_record(Directory(out), RECEIPT)),
        Kind("model: every file", place.trained, "*.*", _model),
        Kind("model: manifest", place.trained, "manifest.json", _model),
        Kind("model, inspected", place.trained, "*.*", inspect, False, 2),
        Kind(
            "evaluation: metrics.json", place.evaluation, "metrics.json", lambda path: str(read_evaluation(str(path)))
        ),
        Kind("cache of judgements", cached, "cache.sqlite", score_with_cache, True, 2),
        Kind("training: checkpoint", interrupted, "checkpoints/step-*.pt", train_again, True, 8),
        Kind("training: record of the checkpoint", interrupted, "checkpoints/step-*.json", train_again, True, 8),
        Kind("training: metrics.jsonl", interrupted, "metrics.jsonl", train_again, True, 8),
        Kind("training: training.json", interrupted, "checkpoints/training.json", train_again, True, 8),
    ]


def _trial(place: Place, kind: Kind, generator: random.Random, expected: object, number: int) -> Trial:
    directory = place.fresh()
    copy = Path(shutil.copytree(kind.intact, directory / "out"))
    path = generator.choice(sorted(path for path in copy.glob(kind.pattern) if path.is_file()))
    what = _damage(path, generator, is_cut=number % CUT_EVERY == 0)
    detail = f"{path.relative_to(copy)}: {what}"
    try:
        outcome = _outcome(kind, copy, path, expected)
    except Exception as error:
        outcome, detail = "TRACEBACK", f"{detail}: {type(error).__name__}: {error}"
    shutil.rmtree(directory)
    return Trial(kind.what, outcome, detail)


def _outcome(kind: Kind, copy: Path, path: Path, expected: object) -> str:
    try:
        with _limited(SECONDS), contextlib.redirect_stderr(io.StringIO()):
            value = kind.read(copy)
    except GraoError as error:
        return "named" if path.name in str(error) else "refused"
    except TimeoutError:
        return "HANG"
    if value != expected:
        return "SILENT"
    return "equal" if kind.writes else "harmless"


def _damage(path: Path, generator: random.Random, is_cut: bool) -> str:
    """Damage a file; how, for people."""
    data = bytearray(path.read_bytes())
    place = generator.randrange(len(data))
    if is_cut:
        path.write_bytes(data[:place])
        return f"cut to {place} of {len(data)} bytes"
    bit = generator.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place}"


def _model(directory: Path) -> object:
    """What sampling from a model starts with: fingerprints, config, tokenizer, weights."""
    source = locate_model(str(directory))
    config, tokenizer = load_config(source), load_tokenizer(source)
    weights = load_causal_lm(directory, "float32").state_dict()
    sums = {name: float(value.double().sum()) for name, value in weights.items()}
    return source.fingerprint, source.tokenizer, config.to_json_string(), tokenizer.chat_template, sums


def _score_options(cache: Path) -> ScoreOptions:
    return ScoreOptions(reward="length", reward_arg=["target=6"], cache=str(cache))


def _train(place: Place, out: Path, progress: RecordedProgress) -> None:
    options = TrainOptions(
        model=str(place.model), groups_per_step=8, learning_rate=1e-3, checkpoint_steps=1, device="cpu"
    )
    train_model(str(place.groups), str(place.advantages), str(out), options, progress)


def _interrupted_training(place: Place) -> Path:
    """What a training that was stopped after some steps leaves."""
    out = place.fresh("interrupted") / "out"

    def stop(message: str) -> None:
        if message.startswith(f"step {STEPS}/"):
            signal.raise_signal(signal.SIGTERM)

    with contextlib.suppress(Interrupted):
        _train(place, out, RecordedProgress(stop))
    return out


def _stopped_sampling(place: Place) -> Path:
    """A part of groups, and the first rows of the next one."""
    out = place.fresh("stopped") / "out"
    groups = open_table(str(place.groups))
    first, second = (groups.part(index) for index in (0, 1))
    writer = TableWriter(str(out), groups.provenance, groups.num_parts)
    writer.write(0, first)
    writer.save_unfinished(1, second.slice(0, 3))
    return out


def _receipt(place: Place) -> Path:
    """What a task of rounds took."""
    out = place.fresh("receipt")
    write_record(Directory(out), RECEIPT, {"seconds": 12.5, "summary": {"groups": 48, "mean_reward": 0.25}})
    return out


def _unfinished_scores(place: Place) -> Path:
    """Scores whose parts are committed, and that have no manifest yet."""
    out = Path(shutil.copytree(place.scores, place.fresh("unfinished") / "out"))
    delete_manifest(Directory(out))
    return out


def _command(*arguments: object) -> str:
    """What a command prints.

    Raises:
        GraoError: it refuses.
        Exception: whatever it does not catch.
    """
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="grao")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code != 0:
        raise GraoError(result.output)
    return result.output


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raises TimeoutError: the block takes longer."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
