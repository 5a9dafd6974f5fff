"""The chain of tasks that a configuration stands for, each keyed by the fingerprint of its work.

A task's fingerprint needs its inputs' fingerprints. `walk` follows the chain; where an output is not there and is not
made (a plan), everything that depends on it is known to be work, but not under which fingerprint.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from grao_pipeline.advantages.compute import advantages_provenance
from grao_pipeline.config import EvaluateOptions, GenerateOptions, ScoreOptions, StageOptions
from grao_pipeline.errors import InputError
from grao_pipeline.evaluation.evaluate import evaluate_provenance, read_evaluation
from grao_pipeline.fingerprints import file_checksum, fingerprint
from grao_pipeline.generation.generate import groups_provenance
from grao_pipeline.models import locate_model
from grao_pipeline.rounds.config import RoundsConfig
from grao_pipeline.scoring.rewards.base import Reward
from grao_pipeline.scoring.score import make_reward, reward_name, scores_provenance
from grao_pipeline.storage.manifest import MANIFEST
from grao_pipeline.storage.reader import open_table
from grao_pipeline.training.output import read_model_manifest
from grao_pipeline.training.provenance import train_provenance


@dataclass(frozen=True)
class Task:
    """One stage of one round.

    Example: `Task("round-0/train", "train", ("store/generate/1f…", …), Path("store/train/9a…"), options)`
    """

    name: str
    stage: str
    inputs: tuple[str, ...] | None
    """Paths of the stage's positional inputs; None while an input has not been made."""
    out: Path | None
    options: StageOptions
    extra: tuple[str, ...] = ()
    """Further command-line arguments (the scores tables of `advantages`)."""
    done: bool = False

    def arguments(self) -> list[str]:
        """The stage's command line behind `grao`."""
        assert self.inputs is not None, f"{self.name} has no inputs yet"
        return [self.stage, *self.inputs, str(self.out), *self.extra, *self.options.arguments()]


Perform = Callable[[Task], bool]
"""Is told every task in order; makes it, or not; says whether its output is there afterwards."""


def plan_only(task: Task) -> bool:
    """A `Perform` that makes nothing."""
    return task.done


@dataclass(frozen=True)
class Table:
    """An output as an input of the next task: where it is and what it is; None where it has not been made."""

    path: str | None
    fingerprint: str | None

    @property
    def known(self) -> bool:
        return self.fingerprint is not None


UNKNOWN = Table(None, None)
NO_MODEL = "(not trained yet)"


@dataclass
class Walk:
    """The tasks in order, and the evaluation of every model: `base`, then round 0, 1, …"""

    tasks: list[Task] = field(default_factory=list)
    evaluations: dict[str, Task] = field(default_factory=dict)


def walk(config: RoundsConfig, perform: Perform) -> Walk:
    """Follow the chain of a configuration, letting `perform` make what is missing.

    Raises:
        GraoError: an input of the configuration is not usable.
    """
    return _Walker(config, perform).walk()


class _Walker:
    def __init__(self, config: RoundsConfig, perform: Perform) -> None:
        self._config = config
        self._perform = perform
        self._walk = Walk()
        self._rewards: list[tuple[ScoreOptions, Reward]] = [(o, make_reward(o)) for o in config.scores]

    def walk(self) -> Walk:
        config = self._config
        train, held_out = self._prompts()
        model: str | None = config.model
        base: tuple[Table, Table] | None = None
        if held_out is not None:
            base = self._evaluate("base", held_out, model, None)
        for number in range(config.rounds):
            name = f"round-{number}"
            groups = self._generate(
                f"{name}/generate", train, model, config.generate_options(model or NO_MODEL, number)
            )
            scores = [self._score(f"{name}/score-{reward_name(o)}", groups, o, r) for o, r in self._rewards]
            advantages = self._advantages(f"{name}/advantages", groups, scores)
            model = self._train(f"{name}/train", groups, advantages, model)
            if held_out is not None:
                self._evaluate(name, held_out, model, base)
        return self._walk

    def _prompts(self) -> tuple[Table, Table | None]:
        config = self._config
        if config.train_prompts is not None:
            held_out = _table(config.eval_prompts) if config.eval_prompts else None
            return _table(config.train_prompts), held_out
        source = Path(config.prompts_source)
        content = file_checksum(source) if source.is_file() else config.prompts_source
        key = fingerprint(["prompts", content, config.prompts.content()])
        out = config.store / "prompts" / key
        split = config.prompts.eval_fraction > 0
        tables = [out / "train", out / "eval"] if split else [out]
        done = all((path / MANIFEST).is_file() for path in tables)
        task = Task("prompts", "prompts", (config.prompts_source,), out, config.prompts, done=done)
        if not self._run(task):
            return UNKNOWN, UNKNOWN if split else None
        return _table(str(tables[0])), _table(str(tables[1])) if split else None

    def _generate(self, name: str, prompts: Table, model: str | None, options: GenerateOptions) -> Table:
        if not prompts.known or model is None:
            return self._unknown(name, "generate", options)
        assert prompts.fingerprint is not None
        provenance = groups_provenance(options, prompts.fingerprint, locate_model(model, options.adapter))
        return self._table(name, "generate", [prompts], options, provenance.fingerprint)

    def _score(self, name: str, groups: Table, options: ScoreOptions, reward: Reward) -> Table:
        if groups.fingerprint is None:
            return self._unknown(name, "score", options)
        provenance = scores_provenance(options, groups.fingerprint, reward)
        return self._table(name, "score", [groups], options, provenance.fingerprint)

    def _advantages(self, name: str, groups: Table, scores: list[Table]) -> Table:
        config = self._config
        if groups.fingerprint is None or not all(table.known for table in scores):
            return self._unknown(name, "advantages", config.advantages)
        described = [
            (reward_name(options), str(table.fingerprint), weight)
            for (options, _), table, weight in zip(self._rewards, scores, config.weights, strict=True)
        ]
        extra = [part for t, w in zip(scores, config.weights, strict=True) for part in ("--scores", f"{t.path}={w}")]
        provenance = advantages_provenance(config.advantages, groups.fingerprint, described)
        return self._table(name, "advantages", [groups], config.advantages, provenance.fingerprint, tuple(extra))

    def _train(self, name: str, groups: Table, advantages: Table, model: str | None) -> str | None:
        """The directory of the trained model, or None."""
        options = self._config.train_options(model or NO_MODEL)
        if groups.fingerprint is None or advantages.fingerprint is None or model is None:
            self._unknown(name, "train", options)
            return None
        provenance = train_provenance(options, groups.fingerprint, advantages.fingerprint, locate_model(model))
        out = self._out("train", provenance.fingerprint)
        inputs = (str(groups.path), str(advantages.path))
        task = Task(name, "train", inputs, out, options, done=read_model_manifest(out) is not None)
        return str(out) if self._run(task) else None

    def _evaluate(
        self, name: str, prompts: Table, model: str | None, base: tuple[Table, Table] | None
    ) -> tuple[Table, Table]:
        """Sample, score and measure a model on the held-out prompts, by the first reward."""
        config = self._config
        groups = self._generate(
            f"{name}/evaluate-generate", prompts, model, config.evaluation_options(model or NO_MODEL)
        )
        reward_options, reward = self._rewards[0]
        scores = self._score(f"{name}/evaluate-score", groups, reward_options, reward)
        options = config.evaluate
        if base is not None:
            options = EvaluateOptions.model_validate(
                {
                    **config.evaluate.model_dump(exclude_unset=True),
                    "base_groups": base[0].path or "BASE",
                    "base_scores": base[1].path or "BASE",
                }
            )
        if groups.fingerprint is None or scores.fingerprint is None or (base is not None and not base[1].known):
            self._unknown(f"{name}/evaluate", "evaluate", options)
        else:
            base_prints = [table.fingerprint for table in base] if base else [None, None]
            provenance = evaluate_provenance(options, groups.fingerprint, scores.fingerprint, *base_prints)
            out = self._out("evaluate", provenance.fingerprint)
            done = read_evaluation(str(out)) is not None
            inputs = (str(groups.path), str(scores.path))
            self._run(Task(f"{name}/evaluate", "evaluate", inputs, out, options, done=done))
        self._walk.evaluations[name] = self._walk.tasks[-1]
        return groups, scores

    def _table(
        self,
        name: str,
        stage: str,
        inputs: list[Table],
        options: StageOptions,
        found: str,
        extra: tuple[str, ...] = (),
    ) -> Table:
        out = self._out(stage, found)
        done = (out / MANIFEST).is_file()
        task = Task(name, stage, tuple(str(table.path) for table in inputs), out, options, extra, done)
        return Table(str(out), found) if self._run(task) else UNKNOWN

    def _unknown(self, name: str, stage: str, options: StageOptions) -> Table:
        self._run(Task(name, stage, None, None, options))
        return UNKNOWN

    def _run(self, task: Task) -> bool:
        done = self._perform(task)
        self._walk.tasks.append(replace(task, done=done))
        return done

    def _out(self, stage: str, found: str) -> Path:
        return self._config.store / stage / found


def _table(path: str) -> Table:
    reader = open_table(path, "prompts")
    if reader.num_rows == 0:
        raise InputError(f"{path} holds no prompts.")
    return Table(path, reader.fingerprint)
