"""Every kind of file that is damaged, and what reads it."""

import contextlib
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from click.testing import CliRunner

from benchmarks.chaos.content import content
from benchmarks.chaos.kills import write_rounds
from benchmarks.chaos.place import Place
from benchmarks.chaos.viewer import look_at_all
from grao_pipeline.cli.main import main
from grao_pipeline.errors import GraoError, Interrupted
from grao_pipeline.evaluation.evaluate import evaluate
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.evaluation.record import read_evaluation
from grao_pipeline.exporting.export import export_table
from grao_pipeline.exporting.options import ExportOptions
from grao_pipeline.models.adapter import check_adapter, load_adapter
from grao_pipeline.models.pruned import PRUNED, prune_files
from grao_pipeline.models.source import load_causal_lm, load_config, load_tokenizer, locate_model
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.scoring.judges.base import Reply
from grao_pipeline.scoring.judges.batch_records import BatchRecord, BatchRecords
from grao_pipeline.scoring.judges.request_forms import RequestForm
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.score import score_groups
from grao_pipeline.storage.directory import Directory
from grao_pipeline.storage.json_record import read_record, write_record
from grao_pipeline.storage.manifest_file import MANIFEST, delete_manifest
from grao_pipeline.storage.reader import open_table
from grao_pipeline.storage.writer import UNFINISHED, TableWriter
from grao_pipeline.training.options import TrainOptions
from grao_pipeline.training.train import train_model

EXPORTS = ("pairs.jsonl", "pairs.parquet")
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


def kinds_of_files(place: Place) -> list[Kind]:
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

    def score_with_shared_cache(directory: Path) -> object:
        score_groups(str(place.groups), str(directory / "out"), _score_options(f"{directory}/cache/"))
        return content(directory / "out")

    def evaluate_again(out: Path) -> object:
        evaluate(str(place.groups), str(place.scores), str(out), EvaluateOptions())
        return content(out)

    def export_again(directory: Path) -> object:
        for name in EXPORTS:
            export_table(str(place.groups), str(directory / name), ExportOptions(scores=str(place.scores)))
        return content(directory)

    def adapted(adapter: Path) -> object:
        """What sampling from a model with an adapter starts with."""
        source = locate_model(str(place.model), str(adapter))
        check_adapter(str(place.model), str(adapter))
        model = load_adapter(load_causal_lm(place.model, "float32"), str(adapter))
        return source.fingerprint, _sums(model.state_dict())

    def adapter_trained_further(adapter: Path) -> object:
        _train(place, adapter.parent / "further", RecordedProgress(), adapter)
        return content(adapter.parent / "further")

    def rounds_again(directory: Path) -> object:
        configuration = write_rounds(place, directory / "out")
        _command("rounds", "run", configuration)
        return content(directory / "out")

    cached = place.fresh("cached")
    shutil.copy(place.cache, cached / "cache.sqlite")
    shared = place.fresh("shared")
    score_with_shared_cache(shared)
    shutil.rmtree(shared / "out")
    exported = place.fresh("exported")
    export_again(exported)
    rounds = place.fresh("rounds")
    rounds_again(rounds)
    return [
        *(Kind(f"{out.name}: part", out, "part-*.parquet", table(out.name)) for out in place.tables),
        *(Kind(f"{out.name}: manifest", out, MANIFEST, table(out.name)) for out in place.tables),
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
        Kind("evaluation, then the same command", place.evaluation, "metrics.json", evaluate_again, True),
        Kind("export, then the same command", exported, "*", export_again, True, 4),
        Kind("cache of judgements", cached, "cache.sqlite", score_with_cache, True, 2),
        Kind("shared cache of judgements", shared, "cache/*/*.parquet", score_with_shared_cache, True, 2),
        Kind("batches of a judge", _batches(place), "*.json", _read_batches),
        Kind("model: record of what was pruned", _pruned(place), PRUNED, _identity),
        Kind("adapter: every file", place.adapter, "*.*", adapted),
        Kind("adapter, trained further", place.adapter, "**/*", adapter_trained_further, True, 8),
        Kind("tables in the browser", _tables(place), "*/*.parquet", lambda root: look_at_all(str(root)), False, 2),
        Kind("rounds: finished, then the same command", rounds, "out/store/**/*.*", rounds_again, True, 8),
        Kind("training: checkpoint", interrupted, "checkpoints/step-*.pt", train_again, True, 8),
        Kind("training: record of the checkpoint", interrupted, "checkpoints/step-*.json", train_again, True, 8),
        Kind("training: metrics.jsonl", interrupted, "metrics.jsonl", train_again, True, 8),
        Kind("training: training.json", interrupted, "checkpoints/training.json", train_again, True, 8),
    ]


def _model(directory: Path) -> object:
    """What sampling from a model starts with: fingerprints, config, tokenizer, weights."""
    source = locate_model(str(directory))
    config, tokenizer = load_config(source), load_tokenizer(source)
    weights = load_causal_lm(directory, "float32").state_dict()
    return source.fingerprint, source.tokenizer, config.to_json_string(), tokenizer.chat_template, _sums(weights)


def _sums(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value.double().sum()) for name, value in weights.items()}


def _identity(directory: Path) -> object:
    """What the rounds ask of a model that they need no more."""
    return locate_model(str(directory), only_identity=True).fingerprint


def _score_options(cache: Path | str) -> ScoreOptions:
    return ScoreOptions(reward="length", reward_arg=["target=6"], cache=str(cache))


def _train(place: Place, out: Path, progress: RecordedProgress, adapter: Path | None = None) -> None:
    options = TrainOptions(
        model=str(place.model), groups_per_step=8, learning_rate=1e-3, checkpoint_steps=1, device="cpu"
    )
    if adapter is not None:
        flags = dict.fromkeys(("allow_off_policy", "save_adapter", "carry_optimizer"), True)
        options = options.model_copy(update={"adapter": str(adapter), "lora_rank": 4, **flags})
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


def _batches(place: Place) -> Path:
    """What a judge remembers of the batches that it has submitted."""
    records = BatchRecords(str(place.fresh("batches")))
    records.save(BatchRecord("5f0c", "batch_67", ("a1", "b2")))
    records.save_direct(RequestForm("json_object", "max_tokens"), {"c3": Reply('{"verdict":"A"}', prompt_tokens=9)})
    return Path(records.url)


def _read_batches(directory: Path) -> object:
    records = BatchRecords(str(directory))
    return records.all(), records.direct()


def _pruned(place: Place) -> Path:
    """A model without its weights."""
    out = Path(shutil.copytree(place.trained, place.fresh("pruned") / "out"))
    prune_files(out, ["model.safetensors"])
    return out


def _tables(place: Place) -> Path:
    """Groups with what belongs to them."""
    root = place.fresh("tables")
    for table in (place.groups, place.scores, place.advantages):
        place.copy(table, root)
    return root


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
