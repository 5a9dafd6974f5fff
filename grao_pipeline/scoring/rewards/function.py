"""A Python function as a reward: `--reward package.module:function`."""

import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from grao_pipeline.arguments import NoArguments
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime

COLUMNS = ("completions", "prompts", "references", "metadata")
CALL = f"It is called with keyword arguments: {', '.join(COLUMNS)} (lists), and the given arguments."


class FunctionReward(Reward):
    """Your own function, called as `function(completions=[…], …)`; it returns one number (or None) per completion.

    The function takes any of these keyword arguments, each a list with one element per completion: `completions`
    (str), `prompts` (lists of messages), `references` (str or None), `metadata` (dict). The arguments that
    `--reward-arg` gives are passed on as strings. The text of its module is part of the scores' fingerprint, so an
    edited function is a different reward.

    Raises:
        UsageError: `function` is not a Python function, does not take `completions`, needs an argument that is not
            given, or does not take one that is.
    """

    def __init__(self, function: Callable[..., object], given: Mapping[str, str], runtime: RewardRuntime) -> None:
        super().__init__(NoArguments(), runtime)
        if not inspect.isfunction(function):
            raise UsageError(
                f"{reprlib.repr(function)} is neither a Python function nor a class that derives from Reward.",
                option="reward",
            )
        self._function = function
        self._name = f"{function.__module__}:{function.__qualname__}"
        self._given = dict(given)
        self._columns = self._check_signature()

    def identity(self) -> Mapping[str, object]:
        path = inspect.getsourcefile(inspect.unwrap(self._function))
        source = Path(path).read_text() if path else self._name
        return {"function": self._name, "source": fingerprint(source), "arguments": self._given}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        """Score a batch; if the function raises, score candidate by candidate, so that one bad row costs one row."""
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
        values = list(self._function(**{name: columns[name] for name in self._columns}, **self._given))
        if len(values) != len(candidates):
            raise StageFailure(
                f"Reward {self._name} returned {len(values)} rewards for {len(candidates)} completions; "
                "it must return one per completion."
            )
        return [Judgement.of(value) for value in values]

    def _check_signature(self) -> list[str]:
        """The `COLUMNS` that the function takes."""
        parameters = inspect.signature(self._function).parameters.values()
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        required = {name for name, parameter in named.items() if parameter.default is parameter.empty}
        missing = sorted(required - set(COLUMNS) - set(self._given))
        unknown = sorted(name for name in self._given if name in COLUMNS or not (takes_any or name in named))
        if not takes_any and "completions" not in named:
            raise UsageError(f"Reward {self._name} does not take 'completions'. {CALL}", option="reward")
        if missing:
            raise UsageError(f"Reward {self._name} needs {missing[0]}=…. {CALL}", option="reward_arg")
        if unknown:
            raise UsageError(f"Reward {self._name} has no argument '{unknown[0]}'. {CALL}", option="reward_arg")
        return [name for name in COLUMNS if takes_any or name in named]
