"""The stages of the pipeline, one record each. Whoever needs to know what the stages are looks here.

A new stage is one record in `STAGES` (those that make prompts are in `prompt_stages.py`, those of `training/` in
`training_stages.py`) and one file with its verb.
Places are strings (`module:attribute`), so that listing the stages imports nothing heavy.
"""

from functools import cache

from grao_pipeline.prompt_stages import PROMPT_STAGES
from grao_pipeline.published import published
from grao_pipeline.stage import Stage
from grao_pipeline.training_stages import TRAINING_STAGES

STAGES: tuple[Stage, ...] = (
    *PROMPT_STAGES,
    Stage(
        name="import",
        summary="Make a groups table from responses that were sampled elsewhere.",
        description="SOURCE is a hub id, or a local JSONL(.gz), JSON or Parquet file, or a directory of them, with the "
        "columns prompt (a text, or messages) and responses (a list of texts, or of lists of turns), or one sample a "
        "row. The columns rewards, finish_reasons, tools, reference, reference_reward and rejected, and token IDs "
        "with their masks and log-probs, are read where they exist; all others become metadata. Writes OUT/groups and, "
        "where there are rewards, OUT/scores. Without --tokenizer groups of texts can be scored, but not trained on.",
        examples=(
            "grao import samples.jsonl runs/imported --map topic=prompt --map answers=responses",
            "grao import batch_output.jsonl runs/imported --batch-input batch_input.jsonl",
        ),
        inputs=("source",),
        output="groups",
        options="grao_pipeline.importing.options:ImportOptions",
        verb="grao_pipeline.importing.import_groups:import_groups",
        identity="",
        loop=None,
    ),
    Stage(
        name="generate",
        summary="Sample a group of completions for every prompt.",
        description="PROMPTS is a prompts table, OUT the groups table. Finished parts are committed as they come; run "
        "the same command to resume after an interruption.",
        examples=("grao generate data/gsm8k/train runs/groups --model models/base --samples 8 --max-new-tokens 512",),
        inputs=("prompts",),
        output="groups",
        options="grao_pipeline.generation.options:GenerateOptions",
        verb="grao_pipeline.generation.generate:generate_groups",
        worker="sampler",
        identity="grao_pipeline.generation.planning:identity",
        devices="grao_pipeline.generation.planning:devices",
        loop="grao_pipeline.rounds.wiring:generate",
        check="grao_pipeline.generation.planning:check",
        check_plugins="grao_pipeline.generation.planning:check_plugins",
        always=True,
        estimate="grao_pipeline.rounds.estimates:sampling",
        decided_by_loop=frozenset({"model", "adapter", "round", "worker", "extend"}),
        did=("groups", "samples", "tokens"),
        costs={"tokens_sampled": "tokens_sampled"},
    ),
    Stage(
        name="score",
        summary="Judge every sample, and the reference, with a reward.",
        description="GROUPS is a groups table, OUT the scores table of this reward. `grao score --reward NAME --help` "
        "also shows the arguments of that reward.",
        examples=(
            "grao score runs/groups runs/scores/gsm8k --reward gsm8k",
            "grao score runs/groups runs/scores/short --reward length --reward-arg target=200 --name short",
        ),
        inputs=("groups",),
        output="scores",
        options="grao_pipeline.scoring.options:ScoreOptions",
        verb="grao_pipeline.scoring.score:score_groups",
        worker="tables",
        identity="grao_pipeline.scoring.planning:identity",
        devices="grao_pipeline.scoring.planning:devices",
        loop="grao_pipeline.rounds.wiring:score",
        check="grao_pipeline.scoring.planning:check",
        estimate="grao_pipeline.rounds.estimates:scoring",
        per_round=False,
        always=True,
        repeated=True,
        label="grao_pipeline.scoring.planning:label",
        is_weighted=True,
        decided_by_loop=frozenset({"worker"}),
        did=("samples", "references_scored", "mean_reward"),
        costs={"judgements": "cache_misses", "judge_tokens": "tokens_spent"},
    ),
    Stage(
        name="resample",
        summary="Say which prompts are sampled further, since their groups have no learning signal.",
        description="PROMPTS is a prompts table, GROUPS and SCORES (or advantages, for the combined reward) what was "
        "sampled of it; OUT is the prompts table for `grao generate OUT MORE --extend GROUPS`: every prompt with its "
        "number of new samples. In the rounds a section `resample` makes passes until every group has a signal.",
        examples=(
            "grao resample data/train r0/groups r0/scores r0/asked --samples 8",
            "grao generate r0/asked r0/more --extend r0/groups --model models/base",
        ),
        inputs=("prompts", "groups", "scores"),
        output="prompts",
        options="grao_pipeline.prompts.options:ResampleOptions",
        verb="grao_pipeline.prompts.resample:resample_prompts",
        worker="tables",
        takes_accelerator=False,
        identity="grao_pipeline.prompts.resample:resample_identity",
        loop="grao_pipeline.rounds.choosing:resample",
        decided_by_loop=frozenset({"attempt"}),
        known_by_content=True,
        did=("groups", "with_signal", "samples", "prompts", "new_samples"),
    ),
    Stage(
        name="advantages",
        summary="Compute group-relative advantages from scores.",
        description="GROUPS is a groups table, OUT the advantages table. Several scores become one reward as --combine "
        "says, by default as a weighted sum. With --dry-run nothing is written.",
        examples=(
            "grao advantages runs/groups runs/advantages --scores runs/scores/gsm8k --scores runs/scores/length=0.2",
        ),
        inputs=("groups",),
        output="advantages",
        options="grao_pipeline.advantages.options:AdvantagesOptions",
        verb="grao_pipeline.advantages.compute:compute_advantages",
        preview="grao_pipeline.advantages.dry_run:preview_advantages",
        worker="tables",
        takes_accelerator=False,
        identity="grao_pipeline.advantages.planning:identity",
        loop="grao_pipeline.rounds.wiring:advantages",
        always=True,
        check="grao_pipeline.advantages.planning:check",
        estimate="grao_pipeline.rounds.estimates:table",
        decided_by_loop=frozenset({"scores", "pool", "dry_run"}),
        did=("groups", "trained_groups", "trained_samples", "zero_variance_groups"),
    ),
    *TRAINING_STAGES,
    Stage(
        name="evaluate",
        summary="Compare a model's samples with the references and with its base.",
        description="GROUPS and SCORES are the model's samples on evaluation prompts and their rewards; "
        "OUT/metrics.json receives RAS and mean reward and, with --base-groups and --base-scores, NAG (nag_win_rate "
        "and nag_net).",
        examples=(
            "grao evaluate runs/eval/groups runs/eval/scores runs/eval/metrics --base-groups runs/base/groups "
            "--base-scores runs/base/scores",
        ),
        inputs=("groups", "scores"),
        output="evaluation",
        options="grao_pipeline.evaluation.options:EvaluateOptions",
        verb="grao_pipeline.evaluation.evaluate:evaluate",
        worker="tables",
        takes_accelerator=False,
        identity="grao_pipeline.evaluation.planning:identity",
        loop="grao_pipeline.rounds.wiring:evaluate",
        always=True,
        is_complete="grao_pipeline.evaluation.planning:is_complete",
        per_round=False,
        decided_by_loop=frozenset({"base_groups", "base_scores"}),
        did=("prompts", "unpaired_prompts"),
    ),
    Stage(
        name="export",
        summary="Write groups or prompts as a file of another trainer: preference pairs, best of n, labels, prompts.",
        description="TABLE is a groups table (for openrlhf and verl also a prompts table), OUT one file that ends in "
        ".parquet or .jsonl. `grao plugins list --kind export` lists the formats. TRL's DPOTrainer, SFTTrainer and "
        "KTOTrainer load the first three as they are.",
        examples=(
            "grao export runs/groups pairs.parquet --scores runs/scores/gsm8k --min-margin 0.5",
            "grao export runs/groups best.jsonl --format sft --advantages runs/advantages",
            "grao export data/train prompts.parquet --format verl",
        ),
        inputs=("table",),
        output="export",
        options="grao_pipeline.exporting.options:ExportOptions",
        verb="grao_pipeline.exporting.export:export_table",
        identity="",
        loop=None,
    ),
)
"""In the order in which data flows."""
_BUILT_IN = {stage.name: stage for stage in STAGES}


@cache
def stages() -> tuple[Stage, ...]:
    """All stages in order: the built-in ones, and those that installed packages publish as entry points
    `grao_pipeline.stages`, each at the place that its `after` names."""
    ordered = list(STAGES)
    for entry in published("grao_pipeline.stages"):
        stage: Stage = entry.load()
        names = [other.name for other in ordered]
        ordered.insert(names.index(stage.after) + 1 if stage.after in names else len(names), stage)
    return tuple(ordered)


def stage_named(name: str) -> Stage:
    """The stage of this name. Installed packages are looked through only for one that is not built in.

    Raises:
        KeyError: unknown name.
    """
    return _BUILT_IN.get(name) or {stage.name: stage for stage in stages()}[name]
