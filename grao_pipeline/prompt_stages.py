"""The records of the stages that make prompts; see `pipeline.py`."""

from grao_pipeline.stage import Stage

PROMPT_STAGES: tuple[Stage, ...] = (
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
        summary="Choose the next round's prompts, and how often to sample them, by the rewards of earlier rounds.",
        description="PROMPTS is a prompts table, OUT another one that holds the chosen prompts. They are drawn without "
        "replacement, in proportion to a priority (by default the variance of their samples' rewards), mixed with a "
        "uniform share; solved ones are retired. A prompt that was never seen counts with the mean priority of those "
        "that were. With --budget they share a number of samples, which `grao generate` then draws.",
        examples=(
            "grao curriculum data/train r1/prompts --history r0/groups r0/scores --fraction 0.5",
            "grao curriculum data/train r1/prompts --history r0/groups r0/scores --budget knapsack --samples 8",
        ),
        inputs=("prompts",),
        output="prompts",
        options="grao_pipeline.prompts.options:CurriculumOptions",
        verb="grao_pipeline.prompts.curriculum:choose_prompts",
        worker="tables",
        takes_accelerator=False,
        identity="grao_pipeline.prompts.planning:curriculum_identity",
        check="grao_pipeline.prompts.planning:check_curriculum",
        loop="grao_pipeline.rounds.choosing:curriculum",
        decided_by_loop=frozenset({"history"}),
        known_by_content=True,
        did=("prompts", "retired_solved", "retired_hopeless", "chosen", "samples"),
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
        loop="grao_pipeline.rounds.choosing:minibatch",
        decided_by_loop=frozenset({"round"}),
        per_round=False,
        known_by_content=True,
        did=("taken", "passes"),
    ),
)
