"""Options of `grao references`."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from grao_pipeline.generation.options import MOST_SAMPLES, GenerateOptions
from grao_pipeline.options import KeyValues, option, runtime, tables
from grao_pipeline.scoring.options import CACHE_HELP, ScoreOptions

SCORE_FIELDS = ("reward", "reward_arg", "batch", "cache", "use_cache")
UNUSED = ("worker", "extend", "adapter")
"""Options of `grao generate` that a teacher does not have."""


class ReferencesOptions(GenerateOptions):
    """`grao references`: prompts → prompts with references."""

    help_sections: ClassVar[Mapping[str, str]] = {
        "model": "A teacher model, sampled as by grao generate",
        "groups": "Best samples, tables",
        "reward": "Choice of the best of several samples",
    }
    first_options: ClassVar[tuple[str, ...]] = ("model", "groups", "scores", "from_", "overwrite_references")

    model: str = runtime(
        "",
        "The teacher: a Hugging Face model directory or hub id. --engine openai --api chat does without: it asks "
        "--served-model.",
    )
    samples: int = option(
        1,
        "Samples of the teacher per prompt; of several, the one with the best reward is chosen.",
        ge=1,
        le=MOST_SAMPLES,
    )
    temperature: float = option(0.0, "Sampling temperature of the teacher; 0 is greedy.", ge=0.0)
    groups: str | None = tables(
        None, "Take the best samples of these groups, by --scores, instead of asking a teacher.", metavar="TABLE"
    )
    scores: str | None = tables(
        None, "Scores of --groups, or their advantages, for the combined reward.", metavar="TABLE"
    )
    from_: str | None = tables(
        None,
        "Take the references of this prompts table, by the messages of the prompts.",
        metavar="TABLE",
        alias="from",
    )
    overwrite_references: bool = option(False, "Replace the references that are there, too.")
    min_reward: float | None = option(None, "A sample with a lower reward becomes no reference.")
    reward: str | None = option(
        None, "Reward that chooses among the teacher's samples, as in grao score.", plugin="reward"
    )
    reward_arg: KeyValues = option([], "Argument of the reward as key=value. Repeatable.")
    batch: bool = runtime(False, "Ask a judge on a server through its batch files.")
    cache: str = runtime("auto", CACHE_HELP)
    use_cache: bool = runtime(True, "Read judgements from the cache, and add new ones.")

    @property
    def mode(self) -> Literal["teacher", "groups", "table"]:
        """Where the references come from."""
        return "groups" if self.groups is not None else "table" if self.from_ is not None else "teacher"

    def teacher(self) -> GenerateOptions:
        """How the teacher samples."""
        return GenerateOptions(**{name: getattr(self, name) for name in GenerateOptions.model_fields})

    def judging(self) -> ScoreOptions | None:
        """How the teacher's samples are scored; None where they are not."""
        if self.reward is None:
            return None
        given = {name: getattr(self, name) for name in SCORE_FIELDS}
        return ScoreOptions(batch_size=self.batch_size, device=self.device, **given)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.groups is not None and self.from_ is not None:
            raise ValueError("give --groups or --from, not both")
        if (self.groups is None) != (self.scores is None):
            raise ValueError("--groups and --scores go together: the reward says which sample is the best")
        is_sampled = bool(self.model) or self.base_url is not None
        if self.mode == "teacher" and not is_sampled:
            raise ValueError(
                "say where the references come from: a teacher (--model, or --engine openai --api chat --base-url), "
                "--groups with --scores, or --from"
            )
        if self.mode != "teacher" and (is_sampled or self.reward is not None):
            raise ValueError("a teacher (--model, --base-url, --reward) does not go with --groups or --from")
        if self.mode == "table" and self.min_reward is not None:
            raise ValueError("--min-reward needs rewards: a teacher with --reward, or --groups with --scores")
        for name in UNUSED:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is an option of grao generate alone")
        if self.mode == "teacher":
            self._check_teacher()
        return self

    def _check_teacher(self) -> None:
        if not self.model and self.engine != "openai":
            raise ValueError("a teacher without --model is asked through a server: give --engine openai")
        if self.samples > 1 and self.reward is None:
            raise ValueError("of several samples, --reward chooses the best: give one, or --samples 1")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("at temperature 0 all samples are equal: give --temperature, or --samples 1")
        if self.min_reward is not None and self.reward is None:
            raise ValueError("--min-reward needs rewards: give --reward")
