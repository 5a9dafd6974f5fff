"""The formats by name. Every file of this folder is one: `question_answer.py` has the `FORMAT` of `question-answer`."""

from pkgutil import iter_modules

FORMATS: dict[str, str] = {
    module.name.replace("_", "-"): f"{__name__}.{module.name}:FORMAT" for module in iter_modules(__path__)
}
