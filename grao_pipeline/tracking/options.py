"""Options of `grao log`."""

from grao_pipeline.options import StageOptions, runtime

LOG_TO_HELP = (
    "Also log to this tracker: tensorboard, trackio, mlflow, wandb, or your own as package.module:Class. It runs in "
    "another process, and cannot stop the work. Repeatable."
)

UNTIL_END_OF_INPUT = "GRAO_UNTIL_END_OF_INPUT"
"""Environment variable that a training sets for the process that follows it: it ends with its standard input."""


class LogOptions(StageOptions):
    """`grao log`: metrics of a training or of rounds → trackers."""

    to: list[str] = runtime(
        [],
        "Tracker: tensorboard, trackio, mlflow, wandb, or your own as package.module:Class. Repeatable.",
        plugin="tracker",
    )
    project: str = runtime("grao", "Project or experiment of the tracker.", min_length=1)
    follow: bool = runtime(False, "Keep following until the training is finished, or until Ctrl-C.")
