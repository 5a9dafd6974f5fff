"""The stages of the pipeline, one record each. Whoever needs to know what the stages are looks here.

A new stage is one record in `STAGES` (those of `training/` are in `training_stages.py`) and one file with its verb.
Places are strings (`module:attribute`), so that listing the stages imports nothing heavy.
"""

from functools import cache
from importlib.metadata import entry_points

from grao_pipeline.stage import Stage
from grao_pipeline.training_stages import TRAINING_STAGES

STAGES: tuple[Stage, ...] = (
    Stage(
        name="prompts",
        summary="Make a prompts table from any dataset.",
        description="SOURCE is a hub id, or a JSONL(.gz), JSON, CSV, Parquet or Arrow file, or a directory of them: a "
        "path or a URL. `grao plugins list --kind format` lists the formats of rows. OUT is the table's directory; "
        "with --eval-fraction, OUT/train and OUT/eval.",
        examples=(
            "grao prompts gsm8k.jsonl data/gsm8k --eval-fraction 0.05",
            "grao prompts pairs.parquet data/pairs --map question=prompt --format preference",
        ),
        inputs=("source",),
        output="prompts",
        options="grao_pipeline.prompts.options:PromptsOptions",
        verb="grao_pipeline.prompts.build:build_prompts",
        worker="tables",
        takes_accelerator=False,
        identity="grao_pipeline.prompts.planning:prompts_identity",
        check="grao_pipeline.prompts.planning:check",
        loop="grao_pipeline.rounds.wiring:once",
        is_complete="grao_pipeline.prompts.planning:prompts_are_complete",
        per_round=False,
        known_by_content=True,
        did=("read", "kept"),
    ),
    Stage(
        name="references",
        summary="Write references for prompts: a teacher's, the best samples of groups, or another table's.",
        description="PROMPTS is a prompts table, OUT the same prompts with references. By default only missing ones "
        "are written. A teacher is any engine of `grao generate`; its samples stay in OUT.teacher. The reference is "
        "part of a prompt's identity: a prompt with a new one has a new prompt ID, and groups that were sampled before "
        "belong to the old table.",
        examples=(
            "grao references data/train data/taught --engine openai --api chat --base-url https://host/v1 "
            "--served-model large",
            "grao references data/train data/best --groups runs/groups --scores runs/scores --min-reward 1",
            "grao references data/train data/filled --from data/solutions",
        ),
        inputs=("prompts",),
        output="prompts",
        options="grao_pipeline.references.options:ReferencesOptions",
        verb="grao_pipeline.references.references:write_references",
        identity="grao_pipeline.references.planning:identity",
        check="grao_pipeline.references.planning:check",
        per_round=False,
        decided_by_loop=frozenset({"worker", "extend"}),
        known_by_content=True,
        did=("written", "already_there"),
        costs={"tokens_sampled": "teacher_tokens"},
    ),
    Stage(
        name="curriculum",
        summary="Choose the next round's prompts by the reward variance that earlier rounds saw.",
        description="PROMPTS is a prompts table, OUT another one that holds the chosen prompts. They are drawn without "
        "replacement, in proportion to the variance of their samples' rewards, mixed with a uniform share; solved ones "
        "are retired. A prompt that was never seen counts with the mean variance of those that were.",
        examples=("grao curriculum data/train r1/prompts --history r0/groups r0/scores --fraction 0.5",),
        inputs=("prompts",),
        output="prompts",
        options="grao_pipeline.prompts.options:CurriculumOptions",
        verb="grao_pipeline.prompts.curriculum:choose_prompts",
        worker="tables",
        takes_accelerator=False,
        identity="grao_pipeline.prompts.planning:curriculum_identity",
        loop="grao_pipeline.rounds.wiring:curriculum",
        decided_by_loop=frozenset({"history"}),
        known_by_content=True,
        did=("prompts", "retired_solved", "retired_hopeless"),
    ),
    Stage(
        name="minibatch",
        summary="Take the next prompts of a walk through all of them.",
        description="PROMPTS is a prompts table, OUT another one with the prompts of one round: the first round takes "
        "the first prompts of a random order, the second one the next, and so on, pass after pass: for rounds of one "
        "or two optimizer steps.",
        examples=("grao minibatch data/train r3/prompts --prompts-per-round 64 --round 3",),
        inputs=("prompts",),
        output="prompts",
        options="grao_pipeline.prompts.options:MinibatchOptions",
        verb="grao_pipeline.prompts.minibatch:take_prompts",
        worker="tables",
        takes_accelerator=False,
        identity="grao_pipeline.prompts.minibatch:minibatch_identity",
        decided_by_loop=frozenset({"round"}),
        per_round=False,
        known_by_content=True,
        did=("taken", "passes"),
    ),
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
        always=True,
        estimate="grao_pipeline.rounds.estimates:sampling",
        decided_by_loop=frozenset({"model", "adapter", "round", "worker", "extend"}),
        did=("groups", "samples", "tokens"),
        costs={"tokens_sampled": "tokens"},
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
        worker="scorer",
        identity="grao_pipeline.scoring.planning:identity",
        devices="grao_pipeline.scoring.planning:devices",
        loop="grao_pipeline.rounds.wiring:score",
        check="grao_pipeline.scoring.planning:check",
        estimate="grao_pipeline.rounds.estimates:scoring",
        per_round=False,
        always=True,
        repeated=True,
        label="grao_pipeline.scoring.planning:label",
        decided_by_loop=frozenset({"worker"}),
        did=("samples", "references_scored", "mean_reward"),
        costs={"judgements": "cache_misses", "judge_tokens": "tokens_spent"},
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


@cache
def stages() -> tuple[Stage, ...]:
    """All stages in order: the built-in ones, and those that installed packages publish as entry points
    `grao_pipeline.stages`, each at the place that its `after` names."""
    ordered = list(STAGES)
    for entry in entry_points(group="grao_pipeline.stages"):
        stage: Stage = entry.load()
        names = [other.name for other in ordered]
        ordered.insert(names.index(stage.after) + 1 if stage.after in names else len(names), stage)
    return tuple(ordered)


def stage_named(name: str) -> Stage:
    """The stage of this name.

    Raises:
        KeyError: unknown name.
    """
    return {stage.name: stage for stage in stages()}[name]
