"""The Reward seam: arguments, traits, identity, and who closes a reward."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from grao_pipeline.arguments import PluginArguments, argument, described_arguments
from grao_pipeline.errors import UsageError
from grao_pipeline.plugins import load
from grao_pipeline.scoring.cache import JudgementCache
from grao_pipeline.scoring.named_reward import make_reward
from grao_pipeline.scoring.options import ScoreOptions
from grao_pipeline.scoring.rewards import REWARDS
from grao_pipeline.scoring.rewards.base import Candidate, FakeReward, Judgement, Reward
from grao_pipeline.scoring.score import score_groups
from tests import tiny

THIS = "tests.scoring.rewards.test_base"


class Polite(Reward):
    """Counts its closings; the argument `fails` makes `score` raise."""

    class Arguments(PluginArguments):
        word: str = argument("please", "Word to look for.")
        fails: bool = argument(False, "Fail.")

    arguments: Arguments
    num_closed: ClassVar[int] = 0

    def score(self, candidates: Sequence[Candidate]) -> Iterable[Judgement]:
        if self.arguments.fails:
            raise KeyboardInterrupt
        return [Judgement.of(self.arguments.word in candidate.completion) for candidate in candidates]

    def close(self) -> None:
        type(self).num_closed += 1


def test_the_arguments_are_the_identity() -> None:
    reward = make_reward(ScoreOptions(reward=f"{THIS}:Polite", reward_arg=["word=thanks"]))
    assert reward.identity() == {"word": "thanks", "fails": False}
    assert not reward.reads_group


@pytest.mark.parametrize("trait", ["read_group", "reads_groups", "is_linear"])
def test_a_misspelled_trait_is_an_error(trait: str) -> None:
    with pytest.raises(UsageError, match=rf"sets the unknown trait '{trait}'. Known: reads_group, verifies\."):
        type("Misspelled", (FakeReward,), {trait: True})


def test_private_attributes_and_constants_of_other_types_are_free() -> None:
    reads: type[Reward] = type("Reads", (FakeReward,), {"reads_group": True, "_is_strict": True, "limit": 3})
    assert reads.reads_group


@pytest.mark.parametrize("name", ["name", "reward"])
def test_an_argument_cannot_have_the_name_of_a_recorded_option(name: str) -> None:
    fields = {"__annotations__": {name: str}, name: argument("x", "A text."), "__module__": __name__}
    arguments = type("Arguments", (PluginArguments,), fields)
    with pytest.raises(UsageError, match=f"an argument cannot be called '{name}'"):
        type("Named", (FakeReward,), {"Arguments": arguments})


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_and_every_argument_has_a_help_text(name: str) -> None:
    reward_class = load("reward", name, REWARDS)
    assert issubclass(reward_class, Reward)
    assert (reward_class.__doc__ or "").partition("\n")[0].endswith(".")
    for described in described_arguments(reward_class.arguments_model({})):
        assert described["help"].endswith("."), described


def groups_table(path: Path) -> str:
    return tiny.write_table(path, "groups", [tiny.group_row("q", ["please", "no"], reference="please")])


def opened_caches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cache's openings and closings from now on."""
    events: list[str] = []
    open_cache, close_cache = JudgementCache.__init__, JudgementCache.close

    def opened(cache: JudgementCache, path: str | Path, **given: Any) -> None:
        events.append("opened")
        open_cache(cache, path, **given)

    def closed(cache: JudgementCache) -> None:
        events.append("closed")
        close_cache(cache)

    monkeypatch.setattr(JudgementCache, "__init__", opened)
    monkeypatch.setattr(JudgementCache, "close", closed)
    return events


@pytest.mark.parametrize("fails", [False, True])
def test_scoring_closes_its_reward_and_its_cache_also_after_an_error(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Polite, "num_closed", 0)
    caches = opened_caches(monkeypatch)
    groups = groups_table(tmp_path / "groups")
    options = ScoreOptions(reward=f"{THIS}:Polite", reward_arg=[f"fails={fails}"], cache=str(tmp_path / "cache.sqlite"))
    if fails:
        with pytest.raises(KeyboardInterrupt):
            score_groups(groups, str(tmp_path / "scores"), options)
    else:
        assert score_groups(groups, str(tmp_path / "scores"), options).mean_reward == 0.5
    assert Polite.num_closed == 1
    assert caches == ["opened", "closed"]


def test_a_reward_that_is_passed_in_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Polite, "num_closed", 0)
    options = ScoreOptions(reward=f"{THIS}:Polite", use_cache=False)
    score_groups(groups_table(tmp_path / "groups"), str(tmp_path / "scores"), options, reward=make_reward(options))
    assert Polite.num_closed == 0
