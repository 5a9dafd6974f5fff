"""The smallest number of samples that budgets give to every prompt."""

from grao_pipeline.errors import UsageError


def refuse_too_few(total: int, least: int, prompts: int) -> None:
    """Raises UsageError if there are fewer samples than every prompt is to get."""
    if total < least * prompts:
        raise UsageError(
            f"{total} samples are fewer than {least} for each of {prompts} prompts. Raise --samples, or lower least=….",
            option="budget_arg",
        )
