"""Plain English: messages of errors, documents, docstrings, comments, help texts and names of variables."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from grao_pipeline import errors

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "grao_pipeline").rglob("*.py"))
SOURCES = [
    path
    for folder in ("grao_pipeline", "stages", "examples", "benchmarks", "tests", "website")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
USERS_CODE = [path for folder in ("examples", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
]
ERRORS = {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.GraoError)
}

# Of "X is no file"; judges are told that "length is no merit", and other such sentences are fine.
NOUNS = (
    r"directory|files?|functions?|datasets?|models?|address|paths?|options?|fields?|part of|plain|single|causal|"
    r"numbers?|lists?|tables?|objects?|texts?|JSON|tokens?|records?|answers?|commands?"
)
# Word → what to write instead; see CONTRIBUTING.md, "English".
BANNED = {
    r"bears|bearing": "has",
    r"dear": "expensive",
    r"made again|makes? (?:it|them) again": "regenerated",
    r"(?-i:is none|are none)|(?<!there )is no such": "does not exist; is invalid",
    rf"(?<!there )(?:is|are) no (?:{NOUNS})": "is not a …",
    r"so many": "this many; the number",
    r"other work": "the fingerprint changes",
    r"for ever": "forever; never ends",
    r"of (?:its|his|their|one's|our|my) own": "its own …; custom",
    r"speaks?": "logs; prints",
    r"heeds?": "applies to",
    r"go(?:es|ing)? on (?:from|where|with)": "resumes",
    r"in vain": "without success",
    r"beside": "next to; with",
    r"(?:behind|put in front of) (?:it|them|the (?:prompt|last|first|template))": "after; before",
    r"\w*(?:normal|neutral|regular|initial|token|optim|summar|serial|general|recogn|organ)is(?:e|ed|es|ing|ation)": "z",
    r"behaviours?|centred|colours?|licences?|favours?|neighbours?|honours?|modelled": "American spelling",
}
PATTERN = re.compile(r"\b(?:" + "|".join(BANNED) + r")\b", re.IGNORECASE)
# A past participle says that something was obtained, not what.
BANNED_NAMES = {"found", "each", "taken", "own", "kept", "made"}


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the strings and comments of a Python file, and of the lines of a document."""
    if path.suffix != ".py":
        lines = enumerate(path.read_text().splitlines(), 1)
        # The table of words in CONTRIBUTING.md names them.
        yield from ((number, line) for number, line in lines if not re.match(r"\| [^|]+ \| [^|]+ \|$", line))
        return
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], token.string


def template(node: ast.expr) -> str | None:
    """A message with its values in braces; None where it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part)}}}" for part in node.values
        )
    return None


def messages(path: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, message, whether the name of an option precedes it) of the library errors that a file constructs."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
            message = template(node.args[0])
            if message is not None:
                has_option = any(keyword.arg == "option" for keyword in node.keywords)
                yield node.lineno, message, has_option


def faults_of(message: str, has_option: bool) -> Iterator[str]:
    """What is wrong with an error message."""
    if not has_option and not re.match(r"[A-Z{'`\"]|--|vLLM|bitsandbytes", message):
        yield "does not begin in upper case."
    if not re.search(r"[.}'\"`?)…]$", message):
        yield "does not end with a period or a value."
    if re.search(r"\b[Aa]n? '[a-z]*s'", message):
        yield "write: a table of kind '…'."
    if "  " in message:
        yield "has two spaces."


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of the variables and arguments of a Python file, but for the fields of summaries."""
    tree = ast.parse(path.read_text())
    fields = {id(node.target) for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.lineno, node.id


def test_an_error_message_is_a_sentence() -> None:
    wrong = [
        f"{path}, line {line}: {message!r} {fault}"
        for path in LIBRARY
        for line, message, has_option in messages(path)
        for fault in faults_of(message, has_option)
    ]
    assert not wrong, "\n".join(wrong)


def test_prose_has_no_banned_word() -> None:
    wrong = [
        f"{path}, line {line}: '{match[0]}'"
        for path in [*SOURCES, *DOCUMENTS]
        if path != Path(__file__)
        for line, text in texts_of(path)
        for match in PATTERN.finditer(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_variable_says_what_it_holds() -> None:
    wrong = [
        f"{path}, line {line}: '{name}'"
        for path in [*LIBRARY, *USERS_CODE]
        for line, name in names_in(path)
        if name in BANNED_NAMES
    ]
    assert not wrong, "\n".join(wrong)


def test_the_name_of_a_test_is_one_claim_of_at_most_80_characters() -> None:
    names = [name for path in SOURCES for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)]
    assert [name for name in names if len(name) > 80] == []
