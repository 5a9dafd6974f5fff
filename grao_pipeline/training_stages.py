"""The stages of the room `training`: records of `pipeline.py`."""

from grao_pipeline.stage import Stage

TRAINING_STAGES: tuple[Stage, ...] = (
    Stage(
        name="logprobs",
        summary="Compute the log-probs of groups under another model.",
        description="GROUPS is a groups table, OUT the log-probs of its samples and references under --model: one "
        "forward pass, each prompt once for its group. `grao train --logprobs NAME=OUT` lets an objective compare with "
        "that model: a fixed reference policy, a teacher.",
        examples=("grao logprobs runs/groups runs/start --model models/base",),
        inputs=("groups",),
        output="logprobs",
        options="grao_pipeline.training.logprobs.options:LogprobsOptions",
        verb="grao_pipeline.training.logprobs.compute:compute_logprobs",
        identity="grao_pipeline.training.logprobs.planning:identity",
        loop="grao_pipeline.rounds.wiring:logprobs",
        estimate="grao_pipeline.rounds.estimates:table",
        devices="grao_pipeline.training.logprobs.planning:devices",
        per_round=False,
        repeated=True,
        is_named=True,
        did=("groups", "samples", "references", "tokens"),
        costs={"tokens_compared": "tokens"},
    ),
    Stage(
        name="train",
        summary="Train a model on groups with their advantages.",
        description="OUT becomes a Hugging Face model directory; OUT/metrics.jsonl holds one line per optimizer step. "
        "Run the same command to resume exactly after an interruption. Under torchrun the model is spread over all "
        "processes (FSDP2), and a training resumes from a checkpoint of any number of them.",
        examples=(
            "grao train runs/groups runs/advantages runs/model --model models/base --learning-rate 1e-6",
            "grao train r1/groups r1/advantages r1/model --model r0/model --replay r0/groups r0/advantages "
            "--allow-off-policy",
            "torchrun --nproc-per-node 8 -m grao_pipeline train runs/groups runs/advantages runs/model --model base",
        ),
        inputs=("groups", "advantages"),
        output="model",
        options="grao_pipeline.training.options:TrainOptions",
        verb="grao_pipeline.training.train:train_model",
        preview="grao_pipeline.training.dry_run:estimate_training",
        worker="trainer",
        identity="grao_pipeline.training.planning:identity",
        devices="grao_pipeline.training.planning:devices",
        loop="grao_pipeline.rounds.wiring:train",
        always=True,
        check="grao_pipeline.training.planning:check",
        check_plugins="grao_pipeline.training.planning:check_plugins",
        is_complete="grao_pipeline.training.checkpoints.model_directory:is_complete",
        estimate="grao_pipeline.rounds.estimates:training",
        decided_by_loop=frozenset({"model", "adapter", "replay", "logprobs", "save_optimizer", "dry_run"}),
        known_by_content=True,
        did=("groups_trained", "steps", "skipped_steps", "final_objective"),
        costs={"tokens_trained": "tokens"},
    ),
    Stage(
        name="merge",
        summary="Add models of one architecture, each with a weight.",
        description="OUT becomes a model directory with the sum of the models' weights, the files of the first one "
        "otherwise. In the rounds `merge: {momentum: 0.3}` or `merge: {average: 0.5}` follows every training: the next "
        "round starts from the trained model moved on, or averaged with the one that it started from.",
        examples=(
            "grao merge runs/further --model runs/r1/model=1.3 --model runs/r0/model=-0.3",
            "grao merge runs/mean --model runs/r0/model --model runs/r1/model --model runs/r2/model",
        ),
        inputs=(),
        output="model",
        options="grao_pipeline.training.merging.options:MergeOptions",
        verb="grao_pipeline.training.merging.merge:merge_models",
        takes_accelerator=False,
        identity="grao_pipeline.training.merging.planning:identity",
        loop="grao_pipeline.rounds.merging:merge",
        check="grao_pipeline.training.merging.planning:check",
        is_complete="grao_pipeline.training.checkpoints.model_directory:is_complete",
        known_by_content=True,
        did=("parameters", "distance"),
    ),
)
