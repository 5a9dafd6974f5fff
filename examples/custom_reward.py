"""A reward of your own, as a class: the share of a prompt's keywords that an answer contains.

    grao score runs/groups runs/keywords --reward examples.custom_reward:Keywords --reward-arg field=keywords

Copy the file next to your data and name it `my_rewards:Keywords`. This text is read from it for the fingerprint of the
scores: an edited reward is another reward, and its scores never mix with the old ones.
"""

from collections.abc import Sequence

from grao_pipeline import Candidate, Judgement, PluginArguments, Reward, argument


class Keywords(Reward):
    """The share of the keywords in a prompt's metadata that the answer contains, in any order."""

    class Arguments(PluginArguments):
        field: str = argument("keywords", "Field of the metadata that lists the keywords.")
        ignore_case: bool = argument(True, "Whether a keyword may be written in capitals.")

    arguments: Arguments

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        keywords = candidate.metadata.get(self.arguments.field)
        if not isinstance(keywords, list) or not keywords:
            return Judgement(None, "error", f"metadata has no list '{self.arguments.field}'")  # never a made-up number
        present = [word for word in keywords if self._normalized(word) in self._normalized(candidate.completion)]
        return Judgement.of(len(present) / len(keywords), f"contains {', '.join(present) or 'none'}")

    def _normalized(self, text: str) -> str:
        return text.casefold() if self.arguments.ignore_case else text
