"""What is judged: a criterion of ours by its name, or the user's own words."""

from grao_pipeline.errors import UsageError

CRITERIA = {
    "helpful": (
        "Helpfulness: the answer does what the person asks for or needs; it is correct, complete and clear, "
        "and no longer than that takes."
    ),
    "harmless": (
        "Harmlessness: the answer helps nobody to hurt or deceive others or themselves or to break the law, and is "
        "neither hateful nor demeaning. Declining a harmful request is harmless; so is fulfilling a harmless one."
    ),
}
OWN_WORDS = 2
"""A single word that names no criterion is more likely mistyped than meant."""


def criterion_text(value: str) -> str:
    """The text of a criterion.

    Raises:
        UsageError: a single word that names none, or no text at all.
    """
    if value in CRITERIA:
        return CRITERIA[value]
    if len(value.split()) < OWN_WORDS:
        raise UsageError(
            f"--reward-arg criterion={value}: there is none of that name. Built in: {', '.join(sorted(CRITERIA))}. "
            "Your own: say in a sentence what makes an answer good."
        )
    return value.strip()
