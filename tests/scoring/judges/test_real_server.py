"""One real vLLM server on loopback generates and judges, through the faults of a network and a busy server.

Requests are counted by a proxy in front of the server, never by our own log.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.models.fault_proxy import Fault, FaultProxy
from tests.models.vllm_server import VllmServer

pytestmark = pytest.mark.vllm

FLAGS = ["--max-model-len", "8192", "--max-num-batched-tokens", "8192", "--kv-cache-memory-bytes", str(64 << 20)]
FLAGS += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
FAULTS: dict[int, Fault] = {0: "429", 2: "500", 5: "hang", 9: "reset", 12: "truncated", 13: "500"}


@pytest.fixture(scope="module")
def real_server(judge_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """Reads 8,192 tokens, which a judge's prompt may well have with a tokenizer of letters."""
    with VllmServer(judge_model, tmp_path_factory.mktemp("server") / "log", FLAGS) as server:
        yield server


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [tiny.prompt_row(f"Say the number {index}.", f"It is {index}.") for index in range(4)]
    return tiny.write_table(tmp_path_factory.mktemp("prompts") / "table", "prompts", rows)


def generate(prompts: str, out: Path, model: Path, base_url: str, *more: object) -> dict[str, Any]:
    options = ["--engine", "openai", "--base-url", base_url, "--model", model, "--max-model-len", 8192]
    options += ["--samples", 3, "--max-new-tokens", 8, "--temperature", 1.0, "--request-timeout", 20]
    return tiny.grao_json("generate", prompts, out, *options, *more)


def score(groups: Path, out: Path, reward: str, base_url: str, *arguments: str) -> dict[str, Any]:
    options = [f"base_url={base_url}", "max_tokens=64", "request_timeout=20", *arguments]
    given = [part for option in options for part in ("--reward-arg", option)]
    return tiny.grao_json("score", groups, out, "--reward", reward, *given)


def rows_of(path: Path, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_table(str(path), table).arrow().to_pylist()
    return rows


def asked(proxy: FaultProxy) -> Counter[str]:
    """How often each body was posted."""
    return Counter(json.dumps(body, sort_keys=True) for body in proxy.bodies)


@pytest.fixture(scope="module")
def groups(real_server: VllmServer, prompts: str, judge_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("groups") / "undisturbed"
    generate(prompts, out, judge_model, real_server.base_url)
    return out


@pytest.mark.slow
def test_faults_and_a_restart_change_no_table(
    real_server: VllmServer, prompts: str, judge_model: Path, groups: Path, tmp_path: Path
) -> None:
    with FaultProxy(real_server.base_url, {0: "429", 1: "500", 3: "hang", 5: "reset"}) as proxy:
        generate(prompts, tmp_path / "groups", judge_model, proxy.base_url, "--request-timeout", 3)
        assert set(proxy.faults) == {"429", "500", "hang", "reset"}
    assert rows_of(tmp_path / "groups", "groups") == rows_of(groups, "groups")

    undisturbed = score(groups, tmp_path / "scores", "judge-pairwise", real_server.base_url)

    def restart(number: int) -> None:
        if number == 16:
            real_server.kill()
            real_server.start()

    with FaultProxy(real_server.base_url, FAULTS, while_in_flight=restart) as proxy:
        arguments = ("concurrency=3", "retries=60", "request_timeout=5")
        disturbed = tiny_score_without_cache(groups, tmp_path / "disturbed", proxy.base_url, *arguments)
        assert set(proxy.faults) == set(FAULTS.values())
        assert proxy.unforwarded > 0
    real_server.wait_until_healthy()
    assert rows_of(tmp_path / "disturbed", "scores") == rows_of(tmp_path / "scores", "scores")
    assert disturbed["statuses"] == undisturbed["statuses"]
    assert sum(disturbed["statuses"].values()) == 12


def tiny_score_without_cache(groups: Path, out: Path, base_url: str, *arguments: str) -> dict[str, Any]:
    options = [f"base_url={base_url}", "max_tokens=64", *arguments]
    given = [part for option in options for part in ("--reward-arg", option)]
    return tiny.grao_json("score", groups, out, "--reward", "judge-pairwise", *given, "--no-use-cache")


def test_scoring_again_is_free_and_a_second_round_judges_no_reference(
    real_server: VllmServer, prompts: str, judge_model: Path, groups: Path, tmp_path: Path
) -> None:
    """A rubric judges references too: four of them, and twelve samples a round, each in one call."""
    second = tmp_path / "second"
    generate(prompts, second, judge_model, real_server.base_url, "--round", 1)
    with FaultProxy(real_server.base_url) as proxy:
        first = score(groups, tmp_path / "scores", "judge-rubric", proxy.base_url)
        assert len(proxy.bodies) == first["cache_misses"] <= 4 * (3 + 1)
        assert all(count == 1 for count in asked(proxy).values())
        references = [body for body in proxy.bodies if "It is " in json.dumps(body)]
        assert len(references) == 4
        spent = first["tokens_spent"]
        assert spent > 0

        proxy.bodies.clear()
        for out in ("scores", "elsewhere"):  # the same table again, and another one
            again = score(groups, tmp_path / out, "judge-rubric", proxy.base_url)
            assert proxy.bodies == []
        assert (again["cache_misses"], again["tokens_spent"], again["tokens_saved"]) == (0, 0, spent)
        assert rows_of(tmp_path / "elsewhere", "scores") == rows_of(tmp_path / "scores", "scores")

        score(second, tmp_path / "scores-1", "judge-rubric", proxy.base_url)
        assert 0 < len(proxy.bodies) <= 12
        assert not any("It is " in json.dumps(body) for body in proxy.bodies)
