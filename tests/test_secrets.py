"""No secret reaches what a pipeline writes or prints: canaries in keys, tokens, URLs and headers are searched for."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny
from tests.canary import CANARY, VARIABLES, readable
from tests.commands import Command
from tests.generation.chat_server import Body, chat_server
from tests.loopback import QuietHandler, serving
from tests.scoring.judges.common import Answer, judge_server

SOURCE = b"".join(b'{"prompt": "question %d?", "completion": "answer %d"}\n' % (i, i) for i in range(4))


@pytest.fixture
def source() -> Iterator[str]:
    """The URL of a JSONL file, with a password and a signature."""

    class Handler(QuietHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self.send(200, b"" if self.command == "HEAD" else SOURCE, {"X-Secret": CANARY})

    with serving(Handler) as base_url:
        address = base_url.removeprefix("http://").removesuffix("/v1")
        yield f"http://user:{CANARY}@{address}/data.jsonl?X-Amz-Signature={CANARY}&X-Amz-Security-Token={CANARY}"


def leaks(directory: Path) -> list[str]:
    """The files that hold a canary."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [str(path) for path in files if CANARY.encode() in readable(path)]


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries in the environment."""
    for name in VARIABLES:
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("GRAO_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.usefixtures("secrets")
def test_no_secret_is_in_any_output_of_the_stages(tmp_path: Path, model: Path, source: str) -> None:
    printed = []

    def run(*arguments: object) -> None:
        result = tiny.grao(*arguments, "-v")
        printed.append(result.output)
        assert result.exit_code == 0, result.output

    def echo_the_key(body: Body, number: int) -> Body:
        return {"content": f"{body['messages'][-1]['content'][:20]} {number}"}

    p, g, s, a, t = (tmp_path / name for name in ("prompts", "groups", "scores", "advantages", "texts"))
    with chat_server() as server:
        server.message = echo_the_key
        run("prompts", source, p)
        run("prompts", source, tmp_path / "twice", "--json")
        chat = ["--engine", "openai", "--api", "chat", "--base-url", server.base_url, "--samples", 2]
        run("generate", p, t, *chat, "--max-new-tokens", 8)
        server.refuse = lambda body: (401, f"wrong key {CANARY}", {})
        refused = tiny.grao("generate", p, tmp_path / "no", *chat, "--max-new-tokens", 8)
    printed.append(refused.output)
    assert refused.exit_code != 0
    run("generate", p, g, "--model", model, "--engine", "transformers", "--samples", 2, "--max-new-tokens", 4)
    run("score", g, s, "--reward", "length", "--reward-arg", "target=3")
    run("advantages", g, a, "--scores", s)
    run("train", g, a, tmp_path / "trained", "--model", model)
    run("evaluate", g, s, tmp_path / "evaluation")
    for place in (p, g, tmp_path / "trained"):
        run("inspect", place)
    nowhere = source.replace("127.0.0.1", "127.0.0.2")
    failed = tiny.grao("prompts", nowhere, tmp_path / "none")
    printed.append(failed.output)
    assert leaks(tmp_path) == []
    assert [text for text in printed if CANARY in text] == []
    assert os.environ["HF_TOKEN"] == CANARY


def _with_password(base_url: str) -> str:
    return base_url.replace("http://", f"http://user:{CANARY}@")


@pytest.mark.slow
@pytest.mark.usefixtures("secrets")
def test_no_secret_is_in_any_output_of_teachers_and_judges(tmp_path: Path, source: str, model: Path) -> None:
    printed = []

    def run(*arguments: object, exit_code: int = 0) -> None:
        result = tiny.grao(*arguments, "-v")
        printed.append(result.output)
        assert result.exit_code == exit_code, result.output

    prompts, groups = tmp_path / "prompts", tmp_path / "groups"
    run("prompts", source, prompts)
    with chat_server() as teacher:
        chat = ["--engine", "openai", "--api", "chat", "--base-url"]
        run("references", prompts, tmp_path / "none", *chat, _with_password(teacher.base_url), exit_code=2)
        chat.append(teacher.base_url)
        run("references", prompts, tmp_path / "taught", *chat, "--overwrite-references", "--max-new-tokens", 8)
        teacher.refuse = lambda _: (403, f"key {CANARY} is not allowed", {"X-Key": CANARY})
        run("references", prompts, tmp_path / "refused", *chat, "--overwrite-references", exit_code=1)
    engine = ("--model", model, "--engine", "transformers")
    run("generate", prompts, groups, *engine, "--samples", 2, "--max-new-tokens", 4)
    with judge_server() as server:
        server.rule = lambda blocks: Answer({"score": 3} if "the answer" in blocks else {"verdict": "A"})
        address = f"base_url={_with_password(server.base_url)}"
        run("score", groups, tmp_path / "none", "--reward", "judge-rubric", "--reward-arg", address, exit_code=2)
        judge = ("--reward-arg", f"base_url={server.base_url}")
        for reward in ("judge-pairwise", "judge-rubric", "judge-win-rate"):
            run("score", groups, tmp_path / reward, "--reward", reward, *judge)
            run("inspect", tmp_path / reward)
        server.refuse = lambda _: Answer(status=401, error=f"wrong key {CANARY}", headers=(("X-Key", CANARY),))
        run("score", groups, tmp_path / "failed", "--reward", "judge-rubric", *judge, "--no-use-cache", exit_code=1)
    run("cache", "info")
    assert leaks(tmp_path) == []
    assert [text for text in printed if CANARY in text] == []


@pytest.mark.slow
@pytest.mark.usefixtures("secrets")
def test_no_secret_is_in_any_output_of_rounds(tmp_path: Path, model: Path, source: str) -> None:
    config = tmp_path / "rounds.yaml"
    verdicts = itertools.cycle("AAB")
    with judge_server() as server:
        server.rule = lambda _: Answer({"verdict": next(verdicts)})
        configuration = {
            "output": str(tmp_path / "out"),
            "model": str(model),
            "rounds": 2,
            "prompts": {"source": "${env:SOURCE}", "eval_fraction": 0.25},
            "generate": {"engine": "transformers", "samples": 2, "max_new_tokens": 4},
            "score": [{"reward": "judge-pairwise", "reward_arg": [f"base_url={server.base_url}"]}],
            "curriculum": {"fraction": 0.5},
            "train": {"device": "cpu"},
        }
        config.write_text(json.dumps(configuration))
        command = Command("rounds", "run", config, "-v", environment={**os.environ, "SOURCE": source})
        printed = [*command.communicate()]
        assert command.returncode == 0, printed[1]
    for arguments in (("plan", config, "--resolved"), ("plan", config, "--commands"), ("status", config)):
        printed.append(tiny.grao("rounds", *arguments).output)
    assert leaks(tmp_path / "out") == []
    assert [text for text in printed if CANARY in text] == []
