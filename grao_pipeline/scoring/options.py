"""Options of `grao score` and `grao cache`."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, model_validator

from grao_pipeline.options import Device, KeyValues, Processes, StageOptions, option, runtime
from grao_pipeline.ray_cluster import RAY_ADDRESS_HELP, RayStageOptions
from grao_pipeline.scoring.condition import Condition

CACHE_HELP = (
    "Judgement cache: a file on a disk of this machine, or for several machines a directory (DIR/) or a URL; auto: "
    "judgements.sqlite in $GRAO_CACHE or ~/.cache/grao-pipeline."
)


def readable_condition(text: str) -> str:
    """The text, if it is a condition.

    Raises:
        ConditionError: it is not.
    """
    Condition.parse(text)
    return text


class ScoreOptions(RayStageOptions):
    """`grao score`: groups → scores."""

    help_sections: ClassVar[Mapping[str, str]] = {
        "when": "What is judged",
        "retry_errors": "Running",
        "cache": "Cache of judgements",
    }

    reward: str = option(
        ...,
        "Name of a reward, e.g. gsm8k, math or judge-pairwise (`grao plugins list --kind reward` shows all), or your "
        "own function or class as module:name.",
        plugin="reward",
    )
    reward_arg: KeyValues = option(
        [], "Argument of the reward as key=value, e.g. pattern='^Yes' or model=PATH. Repeatable."
    )
    name: str | None = option(None, "Name of the reward in later tables; default: the last part of --reward.")
    when: Annotated[str, AfterValidator(readable_condition)] | None = option(
        None,
        "Judge only the rows whose metadata meet this condition, e.g. 'task == \"code\"', 'level >= 3 and not tests', "
        '\'source.name in ["a", "b"]\'; in all others the status is not_applicable.',
    )
    missing: Literal["error", "skip"] = option(
        "error",
        "Rows that lack the field (or reference) that the reward reads: an error, or skipped as not_applicable.",
    )
    score_on: Literal["answer", "all"] = option(
        "answer",
        "What rewards see of a text: the answer after its reasoning (empty where the reasoning never ends), or all.",
    )
    retry_errors: bool = runtime(
        False,
        "Judge the sequences of an existing table whose status is error once more; every other judgement stays.",
    )
    batch_size: int = runtime(
        32,
        "Sequences of 512 tokens (32 on CPU) that a reward model scores at once; more if they are shorter.",
        ge=1,
    )
    device: Device = runtime("auto", "Device of a reward model.")
    processes: Processes = runtime(
        "auto",
        "Processes on this machine, each with its own reward and its own share of the parts; auto: one for every GPU "
        "(or set of GPUs) where the reward runs a model on them, else 1.",
    )
    worker: str | None = runtime(
        None, "i/N: write only the parts whose number is i modulo N. The last of the N writes the manifest."
    )
    executor: Literal["local", "ray"] = runtime(
        "local", "Where samples are judged: on this machine, or in actors on a Ray cluster."
    )
    actors: int = runtime(
        1, "Processes on the Ray cluster, each with its own reward and its own share of the parts.", ge=1
    )
    ray_address: str | None = runtime(None, RAY_ADDRESS_HELP)
    actor_gpus: float | None = runtime(
        None, "GPUs per actor; by default as many as the reward uses where the cluster has GPUs, else 0.", ge=0.0
    )
    batch: bool = runtime(
        False,
        "Ask a judge on a server (--reward-arg base_url=…) through its batch files: cheaper, and within a day. What is "
        "submitted is found again after any interruption.",
    )
    cache: str = runtime("auto", CACHE_HELP)
    use_cache: bool = runtime(True, "Read judgements from the cache, and add new ones.")

    @model_validator(mode="after")
    def _one_process_retries(self) -> Self:
        if self.retry_errors and self.worker is not None:
            raise ValueError("--retry-errors rewrites parts of a finished table: run it without --worker")
        return self


class CacheInfoOptions(StageOptions):
    """`grao cache info`: the contents of the judgement cache."""

    cache: str = runtime("auto", CACHE_HELP)


class CachePruneOptions(StageOptions):
    """`grao cache prune`: delete judgements from the cache."""

    cache: str = runtime("auto", CACHE_HELP)
    unused_days: float | None = runtime(None, "Only judgements that were not used for this many days.", ge=0.0)
    reward: str | None = runtime(
        None, "Only judgements of this reward: its name or fingerprint, as `grao cache info` shows them."
    )
    status: Literal["ok", "unparsable", "truncated", "damaged"] | None = runtime(
        None,
        "Only judgements with this status, e.g. unparsable, to have them judged again; damaged: their checksum is "
        "wrong.",
    )
    dry_run: bool = runtime(False, "Delete nothing: say how many judgements would be.")

    @model_validator(mode="after")
    def _something_is_chosen(self) -> Self:
        if self.unused_days is None and self.reward is None and self.status is None:
            raise ValueError("say which judgements to delete: --unused-days (0: all), --reward or --status")
        return self
