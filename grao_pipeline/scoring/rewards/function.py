"""A Python function as a reward: `--reward package.module:function`."""

import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.scoring.rewards.base import Candidate, Judgement

COLUMNS = ("completions", "prompts", "references", "metadata")
CALL = f"It is called with keyword arguments: {', '.join(COLUMNS)} (lists), and those of --reward-arg."


class FunctionReward:
    """Calls `function(completions=[…], …)` for a list of numbers (or None), one per completion.

    The function takes any of these keyword arguments, each a list with one element per completion: `completions`
    (str), `prompts` (lists of messages), `references` (str or None), `metadata` (dict). Those that `--reward-arg`
    gives are passed on as strings. The text of its module is part of the scores' fingerprint, so a changed function
    is another reward.

    Raises:
        UsageError: it is no Python function, does not take `completions`, needs something that is not there, or does
            not take what `--reward-arg` gives.
    """

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, str]) -> None:
        if not inspect.isfunction(function):
            raise UsageError(
                f"--reward names {reprlib.repr(function)}; a reward of your own is a Python function or a class."
            )
        self._function = function
        self._name = f"{function.__module__}:{function.__qualname__}"
        self._arguments = dict(arguments)
        self._wanted = self._check_signature()

    def identity(self) -> Mapping[str, Any]:
        path = inspect.getsourcefile(inspect.unwrap(self._function))
        source = Path(path).read_text() if path else self._name
        return {"function": self._name, "source": fingerprint(source), "arguments": self._arguments}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        """Score a batch; where the function raises, candidate by candidate, so that one bad row costs one row."""
        try:
            return self._call(candidates)
        except StageFailure:
            raise
        except Exception as error:  # the function is the user's: whatever it raises is about its row
            if len(candidates) == 1:
                return [Judgement(None, "error", f"{type(error).__name__}: {error}")]
            return [judgement for candidate in candidates for judgement in self.score([candidate])]

    def _call(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        columns = {
            "completions": [candidate.completion for candidate in candidates],
            "prompts": [[dict(message) for message in candidate.messages] for candidate in candidates],
            "references": [candidate.reference for candidate in candidates],
            "metadata": [dict(candidate.metadata) for candidate in candidates],
        }
        values = list(self._function(**{name: columns[name] for name in self._wanted}, **self._arguments))
        if len(values) != len(candidates):
            raise StageFailure(
                f"Reward {self._name} gave {len(values)} rewards for {len(candidates)} completions; it gives one each."
            )
        return [Judgement.of(_plain(value)) for value in values]

    def _check_signature(self) -> list[str]:
        """Those of `COLUMNS` that the function takes."""
        parameters = inspect.signature(self._function).parameters.values()
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        required = {name for name, parameter in named.items() if parameter.default is parameter.empty}
        missing = sorted(required - set(COLUMNS) - set(self._arguments))
        refused = sorted(name for name in self._arguments if name in COLUMNS or not (takes_any or name in named))
        if not takes_any and "completions" not in named:
            raise UsageError(f"Reward {self._name} does not take 'completions'. {CALL}")
        if missing:
            raise UsageError(f"Reward {self._name} needs '{missing[0]}': give --reward-arg {missing[0]}=…. {CALL}")
        if refused:
            raise UsageError(f"--reward-arg {refused[0]}: reward {self._name} has no such argument. {CALL}")
        return [name for name in COLUMNS if takes_any or name in named]


def _plain(value: Any) -> Any:
    """A numpy or torch scalar as the Python number that it is."""
    return value.item() if hasattr(value, "item") else value
