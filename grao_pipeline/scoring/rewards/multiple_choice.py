"""`multiple-choice`: 1 where the completion chooses the expected letter, else 0."""

import re
from collections.abc import Mapping, Sequence

from grao_pipeline.arguments import PluginArguments, argument
from grao_pipeline.scoring.metadata import field_value
from grao_pipeline.scoring.rewards.answer_markers import boxes
from grao_pipeline.scoring.rewards.base import Candidate, Judgement, Reward
from grao_pipeline.scoring.rewards.expected import NoExpectedAnswer

LETTERS = "ABCDEFGHIJ"
# A letter with the signs that people put around it: (B), [B], **B**, `B`, \text{B}, \textbf{(B)}.
OPENING, CLOSING = r"(?:\\text(?:bf)?\{|[\[({*_`\"'$]|\\\()*", r"(?:[\])}*_`\"'$]|\\\))*"
# One letter, with or without its option's text after a sign: `B`, `B. Paris`, `(B) Paris`, `option B`.
ONE = re.compile(
    rf"(?:(?:the\s+)?(?:option|choice|answer|letter)\s+)?{OPENING}(?P<letter>[A-Ja-j])(?P<after>{CLOSING})"
    r"(?:\s*[.:)]?\s*|(?:\s*[.:)]|(?<=[\])}]))\s*(?P<text>\S.*?))[$\s}]*",
    re.IGNORECASE | re.DOTALL,
)
SEVERAL = re.compile(
    rf"{OPENING}[A-J]{CLOSING}(?:\s*(?:,|;|/|&|\\&|\bor\b|\band\b)\s*(?:or\s+|and\s+)?{OPENING}[A-J]{CLOSING})+"
)
LETTER = re.compile(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])")
WRAPPED = re.compile(r"\\(?:text(?:bf|rm|it|sf)?|mathrm|mathbf|mathit|mathsf|mbox|operatorname)\s*\{([^{}]*)\}")
PHRASE = re.compile(
    r"\b(?:answer|choice|option)(?:\s+(?:is|would be|must be|should be)\b|\s*(?:\*\*)?\s*[:=])[\s:]*"
    r"(?:\*\*)?\s*(?:(?:option|choice|answer|letter)\s+)?"
    rf"(?P<before>{OPENING})(?P<letter>[A-Ja-j])(?P<after>{CLOSING})(?![\w'’])",
    re.IGNORECASE,
)
LINE = re.compile(rf"^\s*(?:{OPENING})([A-J])(?:{CLOSING})\s*[.:)]?(?:\s*$|(?<=[.:)])\s+\S)", re.MULTILINE)
BOLD = re.compile(r"\*\*\s*\(?([A-J])(?:\)|\s*[.:)]|(?=\s*\*\*))(?:\s[^*\n]*)?\s*\*\*")
STATED_TEXT = re.compile(
    r"\banswer(?:\s+(?:is|would be|must be|should be)\b:?|\s*(?:\*\*)?\s*[:=])\s*(?P<text>[^\n]+)", re.IGNORECASE
)
ANOTHER = re.compile(rf"\s*(?:,|/|&|\bor\b|\band\b)\s*(?:or\s+|and\s+)?{OPENING}([A-J]){CLOSING}(?![\w'’])")
# `A` and `I` are words too: "the answer is a matter of taste", "answer: I think …".
FOLLOWING_WORD = re.compile(r"\s+(?!because|since|as\b|for\b|due\b|which|and\b|or\b)[a-z]", re.IGNORECASE)


class MultipleChoice(Reward):
    r"""1 if the completion chooses the expected letter (A to J), else 0.

    The expected answer is a letter (`B`, `(B)`, `b.`), the text of one of the options, or a whole number, the position
    in the list of options from 0. With options, only their letters can be chosen.

    The first of these that the completion has decides:
    1. a box that holds a letter (`\boxed{B}`, `\boxed{\text{(B) Paris}}`), several (`\boxed{C, D}`), or the text of an
    option; any other box is ignored;
    2. a phrase: "the answer is (B)", "Answer: **B**", "correct option: B". Of several boxes or phrases the last one
    counts, since people correct themselves;
    3. a line that is, or begins with, a letter: `B`, `(B)`, `B. Paris`;
    4. a letter in bold: `**B**`; 5. the text of an option: as the whole completion, or after "the answer is".
    A letter next to the text of another option (`B. Rome`) names both. In a completion that was cut off, only 1 and 2
    count.

    1: the chosen letter is the expected one. 0: it is a different one; or no letter is chosen, or several ("A or B",
    or lines with different letters, as when the completion only repeats the options); the detail says which.
    null + `error`: the metadata has no expected answer, or one that is not an option.
    """

    class Arguments(PluginArguments):
        field: str = argument("answer", "Metadata key of the expected answer.")
        options: str = argument("options", "Metadata key of the list of options, which may be missing.")

    arguments: Arguments
    verifies = True

    def identity(self) -> Mapping[str, object]:
        return {**super().identity(), "version": 2}

    def score(self, candidates: Sequence[Candidate]) -> list[Judgement]:
        return [self._judge(candidate) for candidate in candidates]

    def _judge(self, candidate: Candidate) -> Judgement:
        options = field_value(candidate.metadata, self.arguments.options) or []
        if not isinstance(options, list) or len(options) > len(LETTERS):
            problem = f"metadata '{self.arguments.options}' must be a list of at most {len(LETTERS)} options"
            return NoExpectedAnswer(problem).judgement()
        texts = [str(option) for option in options]
        answer = field_value(candidate.metadata, self.arguments.field)
        expected = expected_letter(answer, texts)
        if expected is None:
            problem = f"metadata '{self.arguments.field}' is {answer!r}, which is not an option"
            return NoExpectedAnswer(problem).judgement()
        chosen = chosen_letters(candidate.completion, texts, candidate.was_cut)
        if len(chosen) != 1:
            detail = f"ambiguous: {' and '.join(sorted(chosen))}" if chosen else "no letter chosen"
            return Judgement.of(0.0, detail)
        return Judgement.of(chosen == {expected}, f"chose {next(iter(chosen))}")


def expected_letter(answer: object, options: Sequence[str]) -> str | None:
    """The letter that the metadata's answer stands for, or None.

    >>> expected_letter("Paris", ["London", "Paris"]), expected_letter("(c)", []), expected_letter(0, ["London"])
    ('B', 'C', 'A')
    """
    allowed = _allowed(options)
    if isinstance(answer, int) and not isinstance(answer, bool):
        return LETTERS[answer] if 0 <= answer < len(options) else None
    if not isinstance(answer, str):
        return None
    letter = answer.strip().strip("().:").upper()
    if len(letter) == 1 and letter in allowed:
        return letter
    return _option_of(answer, options)


def chosen_letters(completion: str, options: Sequence[str], was_cut: bool = False) -> set[str]:
    """The letters that a completion chooses; several where it is ambiguous.

    Args:
        was_cut: the completion was cut off, so that only a stated answer counts.
    """
    allowed = _allowed(options)
    # One space between words and no empty lines, so that long white space does not slow the patterns down.
    completion = "\n".join(" ".join(line.split()) for line in completion.splitlines() if line.strip())
    boxed = [letters for content in boxes(completion) if (letters := _letters_of(content, options))]
    if boxed:
        return boxed[-1]
    phrases = [match for match in PHRASE.finditer(completion) if _is_choice(match, completion, allowed)]
    if phrases:
        return {phrases[-1]["letter"].upper(), *_others(completion, phrases[-1].end(), allowed)}
    if was_cut:
        return set()
    for pattern in (LINE, BOLD):
        letters = {letter for letter in pattern.findall(completion) if letter in allowed}
        if letters:
            return letters
    stated = [match["text"] for match in STATED_TEXT.finditer(completion)]
    whole = _option_of(stated[-1] if stated else completion, options) or _option_of(completion, options)
    return {whole} if whole else set()


def _letters_of(content: str, options: Sequence[str]) -> set[str]:
    """The letters that the content of a box chooses; none where it is not a choice."""
    allowed = _allowed(options)
    content = content.strip()
    if len(content) > 1 and (whole := _option_of(content, options)):
        return {whole}
    content = WRAPPED.sub(r"\1", content)
    one = ONE.fullmatch(content)
    if one is not None and one["letter"].upper() in allowed:
        other = _option_of(one["text"], options) if one["text"] else None
        return {one["letter"].upper(), *([other] if other else [])}
    if SEVERAL.fullmatch(content):
        return {letter for letter in LETTER.findall(content) if letter in allowed}
    whole = _option_of(content, options)
    return {whole} if whole else set()


def _is_choice(match: re.Match[str], text: str, allowed: str) -> bool:
    """Whether the letter after a phrase is a choice: a bare small letter is not, nor `A` or `I` before a word."""
    letter = match["letter"]
    if letter.upper() not in allowed:
        return False
    if match["before"] or match["after"]:
        return True
    return letter.isupper() and not (letter in "AI" and FOLLOWING_WORD.match(text, match.end()))


def _others(text: str, position: int, allowed: str) -> set[str]:
    """The letters that are listed after a chosen one: `or C`, `, C and D`."""
    others = set()
    while (match := ANOTHER.match(text, position)) is not None:
        if match[1] in allowed:
            others.add(match[1])
        position = match.end()
    return others


def _option_of(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option with this text, signs around it and LaTeX's text commands aside."""
    wanted = _bare(text)
    letters = [LETTERS[i] for i, option in enumerate(options) if wanted and _bare(option) == wanted]
    return letters[0] if len(letters) == 1 else None


def _bare(text: str) -> str:
    return " ".join(
        WRAPPED.sub(r"\1", text).replace("\\", "").strip().strip("*_`$\"'“”").rstrip(".").split()
    ).casefold()


def _allowed(options: Sequence[str]) -> str:
    return LETTERS[: len(options)] if options else LETTERS
