"""`diversity`: how varied the words and sentences of a text are."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean, pstdev

from pydantic import PositiveFloat, field_validator

from grao_pipeline.arguments import JsonList, PluginArguments, argument
from grao_pipeline.methods import method
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from grao_pipeline.scoring.rewards.words import FUNCTION_WORDS, Text, evenness, yule


def _spread(text: Text) -> float:
    lengths = [len(words) for words in text.words_of_sentences()]
    return pstdev(lengths) / fmean(lengths) if lengths else 0.0


def _change(text: Text) -> float:
    sets = [set(words) for words in text.words_of_sentences()]
    return fmean([1 - len(a & b) / len(a | b) for a, b in pairwise(sets)] or [0.0])


def _bigrams(text: Text) -> float:
    pairs = list(pairwise(text.words))
    return len(set(pairs)) / len(pairs) if pairs else 0.0


PARTS: dict[str, Callable[[Text, float], float]] = {
    "types": lambda text, scale: len(set(text.words)) / len(text.words) if text.words else 0.0,
    "entropy": lambda text, scale: evenness(text.words),
    "lengths": lambda text, scale: _spread(text),
    "sentences": lambda text, scale: evenness(
        sentence[-1] if sentence[-1] in "!?" else "." for sentence in text.sentences
    ),
    "change": lambda text, scale: _change(text),
    "yule": lambda text, scale: 1 / (1 + yule(text.words) / scale),
    "bigrams": lambda text, scale: _bigrams(text),
    "function-words": lambda text, scale: evenness(word for word in text.words if word in FUNCTION_WORDS),
}


@method(
    "after arXiv 2507.20187, appendix",
    "R = mean of: |V| / N; entropy of words / log |V|; σ / μ of sentence lengths; entropy of kinds of sentences;\n"
    "    Jaccard distance of neighboring sentences; 1 / (1 + K / yule_scale), K = 10⁴ (Σ r² V_r − N) / N²;\n"
    "    share of distinct pairs of words; entropy of function words",
)
class Diversity(Reward):
    """The mean of eight numbers about the words and sentences of one text; add it to a reward with a small weight.

    It is the diversity of a text, not of a group. Entropies are divided by their largest value. The paper's own table
    contradicts its scale of Yule's K, so `yule_scale` must be given. An empty text gets 0.
    """

    class Arguments(PluginArguments):
        yule_scale: PositiveFloat = argument(..., "Yule's K that counts as ½, e.g. 100.", examples=[100])
        parts: JsonList[str] = argument(
            list(PARTS), f"Which numbers, as a JSON list: {', '.join(PARTS)}.", min_length=1
        )

        @field_validator("parts")
        @classmethod
        def _exist(cls, parts: list[str]) -> list[str]:
            unknown = [part for part in parts if part not in PARTS]
            if unknown:
                raise ValueError(f"there is no part '{unknown[0]}'")
            return parts

    arguments: Arguments

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(Text(candidate.completion)) for candidate in candidates]

    def _judge(self, text: Text) -> Judgement:
        if not text.words:
            return Judgement.of(0.0, "no words")
        values = {part: PARTS[part](text, self.arguments.yule_scale) for part in self.arguments.parts}
        return Judgement.of(fmean(values.values()), ", ".join(f"{part} {value:.3g}" for part, value in values.items()))
