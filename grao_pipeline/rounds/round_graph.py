"""The chain of one variant: model → prompts → groups → scores → advantages → model, round by round."""

from dataclasses import dataclass

from grao_pipeline.advantages.compute import advantages_provenance
from grao_pipeline.evaluation.evaluate import evaluate_provenance, read_evaluation
from grao_pipeline.evaluation.options import EvaluateOptions
from grao_pipeline.generation.generate import groups_provenance
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.source import locate_model
from grao_pipeline.prompts.curriculum import curriculum_provenance
from grao_pipeline.rounds.config.compile import RoundsConfig
from grao_pipeline.rounds.config.variant import Variant
from grao_pipeline.rounds.tasks import Table, Tasks
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards.base import Reward
from grao_pipeline.scoring.score import reward_name, scores_provenance
from grao_pipeline.training.checkpoints.model_directory import read_model_manifest
from grao_pipeline.training.provenance import train_provenance

NO_MODEL = "(not trained yet)"


@dataclass(frozen=True)
class Round:
    """What a round leaves to later ones; the scores in the order of the rewards."""

    groups: Table
    scores: list[Table]
    advantages: Table


class VariantChain:
    """Follows the rounds of a variant. See `chain.walk`."""

    def __init__(self, config: RoundsConfig, variant: Variant, tasks: Tasks) -> None:
        self._config = config
        self._variant = variant
        self._tasks = tasks
        self._prefix = f"{variant.name}/" if variant.name else ""
        self._names = [reward_name(options) for options, _ in variant.rewards]

    def follow(self, train: Table, held_out: Table | None) -> None:
        """Evaluate the base model, make every round, and evaluate its model.

        Args:
            train: all training prompts.
            held_out: prompts to evaluate on.
        """
        model = Table(self._config.model, self._config.model, self._config.model)
        base = self._evaluate("base", held_out, model, None) if held_out is not None else None
        rounds: list[Round] = []
        for number in range(self._config.rounds):
            name = f"{self._prefix}round-{number}"
            window = rounds[number - min(number, self._config.reuse_rounds - 1) :]
            prompts = self._curriculum(f"{name}/curriculum", number, train, rounds)
            options = self._variant.generate_options(model.path or NO_MODEL, number)
            groups = self._generate(f"{name}/generate", prompts, model, options)
            scores = [
                self._score(f"{name}/score-{reward_name(options)}", groups, options, reward)
                for options, reward in self._variant.rewards
            ]
            advantages = self._advantages(f"{name}/advantages", number, groups, scores, window)
            model = self._train(f"{name}/train", number, groups, advantages, window, model)
            rounds.append(Round(groups, scores, advantages))
            if held_out is not None:
                self._evaluate(f"round-{number}", held_out, model, base)

    def _curriculum(self, name: str, number: int, prompts: Table, earlier: list[Round]) -> Table:
        """The prompts of a round. Where several rewards are combined, their combination is what was learnt from."""
        options = self._variant.curriculum_options(number)
        if options is None or not earlier:
            return prompts
        history = [(each.groups, each.scores[0] if len(each.scores) == 1 else each.advantages) for each in earlier]
        tables = [prompts, *(table for pair in history for table in pair)]
        if not all(table.known for table in tables):
            return self._tasks.waiting(name, "curriculum", tables, options)
        provenance = curriculum_provenance(
            options, str(prompts.fingerprint), [(str(g.fingerprint), str(s.fingerprint)) for g, s in history]
        )
        extra = tuple(part for g, s in history for part in ("--history", str(g.path), str(s.path)))
        return self._tasks.table(name, "curriculum", [prompts], options, provenance.fingerprint, extra)

    def _generate(self, name: str, prompts: Table, model: Table, options: GenerateOptions) -> Table:
        if prompts.fingerprint is None or model.path is None:
            return self._tasks.waiting(name, "generate", [prompts, model], options)
        provenance = groups_provenance(options, prompts.fingerprint, locate_model(model.path, options.adapter))
        return self._tasks.table(name, "generate", [prompts], options, provenance.fingerprint)

    def _score(self, name: str, groups: Table, options: ScoreOptions, reward: Reward) -> Table:
        if groups.fingerprint is None:
            return self._tasks.waiting(name, "score", [groups], options)
        provenance = scores_provenance(options, groups.fingerprint, reward)
        return self._tasks.table(name, "score", [groups], options, provenance.fingerprint)

    def _advantages(self, name: str, number: int, groups: Table, scores: list[Table], window: list[Round]) -> Table:
        options, weights = self._variant.advantages_options(number), self._variant.weights
        pool = window if self._config.pool else []
        tables = [groups, *scores, *(table for each in pool for table in (each.groups, *each.scores))]
        if not all(table.known for table in tables):
            return self._tasks.waiting(name, "advantages", tables, options, weights)
        described = [
            (reward, str(table.fingerprint), weight)
            for reward, table, weight in zip(self._names, scores, weights, strict=True)
        ]
        pooled = [
            (
                str(each.groups.fingerprint),
                [(reward, str(table.fingerprint)) for reward, table in zip(self._names, each.scores, strict=True)],
            )
            for each in pool
        ]
        provenance = advantages_provenance(options, str(groups.fingerprint), described, pooled)
        extra = [part for t, w in zip(scores, weights, strict=True) for part in ("--scores", f"{t.path}={w}")]
        extra += [part for each in pool for t in each.scores for part in ("--pool", str(each.groups.path), str(t.path))]
        return self._tasks.table(name, "advantages", [groups], options, provenance.fingerprint, tuple(extra))

    def _train(
        self, name: str, number: int, groups: Table, advantages: Table, window: list[Round], model: Table
    ) -> Table:
        """The trained model. Replayed are the rounds of the window, the newest first."""
        options = self._variant.train_options(model.path or NO_MODEL, number, replays=bool(window))
        replay = [(each.groups, each.advantages) for each in reversed(window)]
        tables = [groups, advantages, *(table for pair in replay for table in pair)]
        if model.path is None or not all(table.known for table in tables):
            return self._tasks.waiting(name, "train", [*tables, model], options)
        provenance = train_provenance(
            options,
            str(groups.fingerprint),
            str(advantages.fingerprint),
            locate_model(model.path),
            replay=[(str(g.fingerprint), str(a.fingerprint)) for g, a in replay],
        )
        extra = tuple(part for g, a in replay for part in ("--replay", str(g.path), str(a.path)))
        return self._tasks.table(
            name,
            "train",
            [groups, advantages],
            options,
            provenance.fingerprint,
            extra,
            lambda out: read_model_manifest(out) is not None,
        )

    def _evaluate(
        self, name: str, prompts: Table, model: Table, base: tuple[Table, Table] | None
    ) -> tuple[Table, Table]:
        """Sample, score and measure a model on the held-out prompts, by the first reward."""
        name = self._prefix + name
        sampling = self._variant.evaluation_options(model.path or NO_MODEL)
        groups = self._generate(f"{name}/evaluate-generate", prompts, model, sampling)
        scores = self._score(f"{name}/evaluate-score", groups, *self._variant.rewards[0])
        options = self._variant.evaluate
        if base is not None:
            given = {"base_groups": base[0].path or "BASE", "base_scores": base[1].path or "BASE"}
            options = EvaluateOptions.model_validate({**options.model_dump(exclude_unset=True), **given})
        tables = [groups, scores, *(base or ())]
        if not all(table.known for table in tables):
            self._tasks.waiting(f"{name}/evaluate", "evaluate", tables, options)
        else:
            base_prints = [table.fingerprint for table in base] if base else [None, None]
            provenance = evaluate_provenance(options, str(groups.fingerprint), str(scores.fingerprint), *base_prints)
            self._tasks.table(
                f"{name}/evaluate",
                "evaluate",
                [groups, scores],
                options,
                provenance.fingerprint,
                is_done=lambda out: read_evaluation(str(out)) is not None,
            )
        self._tasks.walk.evaluations[name] = self._tasks.walk.named[f"{name}/evaluate"]
        return groups, scores
