"""A Python function as a reward: `--reward package.module:function` or `--reward path/to/file.py:function`."""

import asyncio
import inspect
import reprlib
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from grao_pipeline.arguments import NoArguments
from grao_pipeline.errors import StageFailure, UsageError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.options import closest
from grao_pipeline.parsing import shown
from grao_pipeline.plugin_source import used_source
from grao_pipeline.scoring.metadata import field_value
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward, RewardRuntime

Result = TypeVar("Result")
COLUMNS = ("completions", "prompts", "references", "metadata", "finish_reasons")
CALL = (
    f"It is called with keyword arguments: {', '.join(COLUMNS)} (lists), any field of the metadata by its name "
    "(a list), and the given arguments."
)
PER_SAMPLE = ("data_source", "solution_str", "ground_truth", "extra_info")
"""The parameters of a function in verl's style, which is called for one completion at a time."""
GROUND_TRUTH = ("ground_truth", "reward_model.ground_truth", "answer")
"""Fields of the metadata, of which the first that is there is verl's `ground_truth`."""


class FunctionReward(Reward):
    """Your own function, called as `function(completions=[…], …)`; it returns one number (or None) per completion.

    The function takes any of these keyword arguments, each a list with one element per completion: `completions`
    (str), `prompts` (lists of messages), `references` (str or None), `metadata` (dict), `finish_reasons` (str). Any
    other parameter gets the field of the metadata with its name, and `**kwargs` all of them, as TRL passes the columns
    of a dataset. The arguments that `--reward-arg` gives are passed on as strings.

    A function that fails on texts because it wants messages (`completion[0]["content"]`) is called with them. One with
    a parameter `solution_str` has verl's signature (`data_source, solution_str, ground_truth, extra_info`): it is
    called per completion, and returns a number or a dict with `score`. An `async` function is awaited. None says that
    the reward is not meant for the row. `(number, steps)` instead of a number gives the steps of the text, too: a list
    of `(end, reward)` or `(end, reward, state)`, `end` in characters.

    What the function uses of its module is part of the scores' fingerprint: an edited function is a different reward.

    Raises:
        UsageError: `function` is not a Python function, does not take `completions`, or does not take an argument that
            is given.
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
        self._takes_messages = False
        parameters = inspect.signature(function).parameters.values()
        self._takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self._defaults = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        self._is_per_sample = "solution_str" in self._defaults
        self._check_signature()

    @property
    def plugin(self) -> Callable[..., object]:
        return self._function

    def identity(self) -> Mapping[str, object]:
        source = used_source(self._function) or fingerprint(self._name)
        return {"function": self._name, "source": source, "arguments": self._given}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        """Score a batch; if the function raises, score candidate by candidate, so that one bad row costs one row."""
        try:
            return self._call(candidates)
        except StageFailure:
            raise
        except Exception as error:  # the function is the user's: whatever it raises is about its row
            if _wants_messages(error) and not self._takes_messages:
                return self._score_messages(candidates, error)
            if len(candidates) == 1:
                return [Judgement(None, "error", self._reason(error))]
            return [judgement for candidate in candidates for judgement in self.score([candidate])]

    def _score_messages(self, candidates: Sequence[Candidate], error: Exception) -> list[Judgement]:
        """Call with completions as lists of one message; if that fails, too, the texts were right."""
        self._takes_messages = True
        try:
            return self._call(candidates)
        except StageFailure:
            raise
        except Exception:  # the function is the user's, as above
            if len(candidates) > 1:
                return [judgement for candidate in candidates for judgement in self.score([candidate])]
            self._takes_messages = False
            return [Judgement(None, "error", self._reason(error))]

    def _reason(self, error: Exception) -> str:
        """E.g. `KeyError: 'answer' (my_rewards.py:7)`: the last line of the function's own file."""
        file = self._function.__code__.co_filename
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        return f"{type(error).__name__}: {error}" + (f" ({Path(file).name}:{lines[-1]})" if lines else "")

    def _call(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        if self._is_per_sample:
            calls = [self._function(**self._sample_arguments(candidate)) for candidate in candidates]
            results = _awaited(calls) if inspect.iscoroutinefunction(self._function) else calls
            return [_judgement(_score_of(result)) for result in results]
        result: Any = self._function(**self._batch_arguments(candidates), **self._given)
        rewards = _awaited([result])[0] if inspect.isawaitable(result) else result
        if not isinstance(rewards, Iterable):
            raise StageFailure(
                f"Reward {self._name} returned {shown(rewards)} for {len(candidates)} completions; it must return a "
                "list, one reward per completion."
            )
        values = list(islice(rewards, len(candidates) + 1))
        if len(values) != len(candidates):
            raise StageFailure(
                f"Reward {self._name} returned {_count(values, candidates)} rewards for {len(candidates)} completions; "
                "it must return one per completion."
            )
        return [_judgement(value) for value in values]

    def _batch_arguments(self, candidates: Sequence[Candidate]) -> dict[str, list[object]]:
        """The columns and the fields of the metadata that the function takes.

        Raises:
            LookupError: a row lacks a field that the function needs.
        """
        columns: dict[str, list[Any]] = {
            "completions": [self._completion(candidate) for candidate in candidates],
            "prompts": [[dict(message) for message in candidate.messages] for candidate in candidates],
            "references": [candidate.reference for candidate in candidates],
            "metadata": [dict(candidate.metadata) for candidate in candidates],
            "finish_reasons": [candidate.finish_reason for candidate in candidates],
        }
        names = set(self._defaults) | (set().union(*(c.metadata for c in candidates)) if self._takes_any else set())
        for name in sorted(names - set(COLUMNS) - set(self._given)):
            values = [candidate.metadata.get(name) for candidate in candidates]
            is_required = self._defaults.get(name) is inspect.Parameter.empty
            if is_required and None in values:
                raise LookupError(_missing(name, candidates[values.index(None)].metadata))
            if is_required or any(name in candidate.metadata for candidate in candidates):
                columns[name] = values
        return {name: column for name, column in columns.items() if self._takes_any or name in self._defaults}

    def _completion(self, candidate: Candidate) -> object:
        if self._takes_messages:
            return [{"role": "assistant", "content": candidate.completion}]
        return candidate.completion

    def _sample_arguments(self, candidate: Candidate) -> dict[str, object]:
        """The arguments of a function in verl's style.

        Raises:
            LookupError: the metadata lacks one that the function needs.
        """
        metadata = candidate.metadata
        answers = (field_value(metadata, name) for name in GROUND_TRUTH)
        values = {
            **metadata,
            "solution_str": candidate.completion,
            "ground_truth": next((answer for answer in answers if answer is not None), None),
            "data_source": metadata.get("data_source", ""),
            "extra_info": metadata.get("extra_info") or {},
            **self._given,
        }
        for name, default in self._defaults.items():
            if default is inspect.Parameter.empty and values.get(name) is None:
                raise LookupError(_missing(name, metadata))
        return {
            name: value
            for name, value in values.items()
            if (name in self._defaults and (value is not None or name in metadata)) or self._takes_any
        }

    def _check_signature(self) -> None:
        columns = () if self._is_per_sample else COLUMNS
        if not self._takes_any and not self._is_per_sample and "completions" not in self._defaults:
            raise UsageError(f"Reward {self._name} does not take 'completions'. {CALL}", option="reward")
        unknown = sorted(n for n in self._given if n in columns or not (self._takes_any or n in self._defaults))
        if unknown:
            known = set(self._defaults) - set(columns) - set(PER_SAMPLE)
            raise UsageError(
                f"Reward {self._name} has no argument '{unknown[0]}'.{closest(unknown[0], known)} {CALL}",
                option="reward_arg",
            )


def _awaited(calls: Sequence[Awaitable[Result]]) -> list[Result]:
    """The results of coroutines; in a separate thread, since a notebook's event loop may run in this one."""

    async def gather() -> list[Result]:
        return list(await asyncio.gather(*calls))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, gather()).result()


def _count(values: Sequence[object], candidates: Sequence[Candidate]) -> str:
    """The number of values; they were read only as far as is needed to know that there are too many."""
    return "more" if len(values) > len(candidates) else str(len(values))


def _wants_messages(error: Exception) -> bool:
    """Whether a function took a text for a list of messages: `completion[0]["content"]`."""
    return isinstance(error, TypeError) and "string indices must be integers" in str(error)


def _judgement(value: object) -> Judgement:
    """Of a number, or of `(number, steps)`."""
    if isinstance(value, tuple) and len(value) == 2:
        return Judgement.of(value[0], steps=value[1])
    return Judgement.of(value)


def _score_of(result: object) -> object:
    return result["score"] if isinstance(result, Mapping) and "score" in result else result


def _missing(name: str, metadata: Mapping[str, object]) -> str:
    fields = ", ".join(sorted(metadata)) or "nothing"
    return f"the metadata has no '{name}', which the function needs; it has: {fields}; or give --reward-arg {name}=…"
