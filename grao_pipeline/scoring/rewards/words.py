"""The words and sentences of a text, and how evenly things are spread."""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the this that these those and or but nor so yet if then because while although of in on at to "
        "from by with about as for into over under between not no is are was were be been being am do does "
        "did have has had will would can could may might must shall should i you he she it we they me him her "
        "us them my your his its our their who which what when where how why there here than too very also "
        "just only ",
    )
)


class Text:
    """The words and sentences of a text, in small letters."""

    def __init__(self, text: str) -> None:
        self.words = re.findall(r"\w+", text.casefold())
        pieces = (piece.strip() for piece in re.findall(r"[^.!?\n]+[.!?]*", text))
        self.sentences = [piece for piece in pieces if re.search(r"\w", piece)]

    def words_of_sentences(self) -> list[list[str]]:
        return [re.findall(r"\w+", sentence.casefold()) for sentence in self.sentences]


def evenness(items: Iterable[Hashable]) -> float:
    """The entropy of the items' frequencies over its largest value; 0 for less than two kinds."""
    counts = list(Counter(items).values())
    total = sum(counts)
    entropy = -sum(count / total * math.log(count / total) for count in counts)
    return entropy / math.log(len(counts)) if len(counts) > 1 else 0.0


def yule(words: Sequence[str]) -> float:
    """Yule's K: 10⁴ (Σ_r r² V_r − N) / N², V_r the number of words that occur r times; 0 for no words."""
    squares = sum(count**2 for count in Counter(words).values())
    return 1e4 * (squares - len(words)) / len(words) ** 2 if words else 0.0
