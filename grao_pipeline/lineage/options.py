"""Options of `grao verify`."""

from grao_pipeline.options import StageOptions, runtime


class VerifyOptions(StageOptions):
    """`grao verify`: every fingerprint of a chain, computed again."""

    look_in: list[str] = runtime(
        [], "Also look for inputs in this folder, e.g. that of the base model or of the prompts. Repeatable."
    )
    complete: bool = runtime(False, "Fail, too, where an input of the chain is not found.")
