"""Names in the directory of a training; free of torch."""

CHECKPOINTS = "checkpoints"
