"""The server engine against a real vLLM server: the samples of vLLM in this process, whatever faults occur."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from grao_pipeline.errors import GraoError, StageFailure, UsageError
from grao_pipeline.generation.engines.base import Engine, EngineOptions, Request, SampledGroup, Sampling, ServerOptions
from grao_pipeline.generation.engines.make import EngineRecipe, parse_engine_arguments
from grao_pipeline.generation.engines.openai import OpenAIArguments, OpenAIEngine, OpenAISamplingArguments
from grao_pipeline.generation.generate import generate_groups
from grao_pipeline.generation.options import GenerateOptions
from grao_pipeline.models.server import Server
from grao_pipeline.models.source import load_tokenizer, locate_model
from grao_pipeline.progress import RecordedProgress
from grao_pipeline.storage.reader import open_table
from tests import tiny
from tests.generation.common import Group
from tests.models.fault_proxy import Fault, FaultProxy
from tests.models.vllm_server import VllmServer

SAMPLING = Sampling(1.0, 1.0, 12, (2,))
SHORT = replace(SAMPLING, arguments=OpenAISamplingArguments(logit_bias={2: 3.0}))
"""Makes the end of a turn likely, so that some completions of the tiny model end before their budget."""


def open_engine(model: Path, base_url: str, arguments: dict[str, str] | None = None, **changes: Any) -> Engine:
    """The engine, by default with the limits of `grao generate`."""
    limits = {"concurrency": 64, "retries": 10, "request_timeout": 600.0, "allow_retokenize": False}
    server = ServerOptions(base_url, **{"served_model": None, **limits, **changes})
    options = EngineOptions(str(model), "float32", 256, "cpu", 32, server=server)
    return EngineRecipe("openai", arguments or {}, options).open()


def requests(count: int, samples: int = 3) -> list[Request]:
    return [Request((0, index), [5, 6, 20 + index], samples, 10**17 + 1000 * index, 12) for index in range(count)]


def sampled(engine: Engine, asked: list[Request], sampling: Sampling = SAMPLING) -> dict[tuple[int, int], SampledGroup]:
    """The group of every request; a group comes once."""
    groups = list(chain.from_iterable(engine.generate([asked[:4], [], asked[4:]], sampling)))
    groups_by_key = {group.key: group for group in groups}
    assert len(groups_by_key) == len(groups) == len(asked)
    return groups_by_key


@pytest.mark.parametrize(
    "sampling",
    [{"temperature": 1.0}, {"temperature": 1.5, "top_p": 0.8}, {"temperature": 0.3}, {"temperature": 0.0}],
    ids=["plain", "hot nucleus", "cold", "greedy"],
)
def test_samples_are_those_of_vllm_in_this_process(
    vllm_engine: Engine,
    vllm_server: VllmServer,
    sample: Callable[..., list[Group]],
    mixed_prompts: str,
    stopping_model: Path,
    sampling: dict[str, float],
) -> None:
    server_engine = open_engine(stopping_model, vllm_server.base_url, concurrency=4)
    of_server = sample(server_engine, mixed_prompts, prompts_per_part=3, **sampling)
    of_process = sample(vllm_engine, mixed_prompts, **sampling)
    assert {reason for group in of_process for reason in group["finish_reasons"]} == {"stop", "length"}
    for group, expected in zip(of_server, of_process, strict=True):
        assert group["completion_token_ids"] == expected["completion_token_ids"]
        assert group["finish_reasons"] == expected["finish_reasons"]
        assert group["group_id"] == expected["group_id"]
        for mine, theirs in zip(group["completion_logprobs"], expected["completion_logprobs"], strict=True):
            assert mine == pytest.approx(theirs, abs=1e-5)


def test_faults_change_nothing_in_the_table(
    vllm_server: VllmServer, model: Path, mixed_prompts: str, sample: Callable[..., list[Group]]
) -> None:
    undisturbed = sample(open_engine(model, vllm_server.base_url), mixed_prompts, temperature=1.0)
    plan: dict[int, Fault] = {0: "429", 2: "500", 3: "hang", 4: "reset", 5: "truncated", 8: "429", 13: "500"}
    with FaultProxy(vllm_server.base_url, plan) as proxy:
        engine = open_engine(model, proxy.base_url, concurrency=4, request_timeout=5.0)
        disturbed = sample(engine, mixed_prompts, temperature=1.0, prompts_per_part=2)
        assert proxy.faults == {"429": 2, "500": 2, "hang": 1, "reset": 1, "truncated": 1}
        # The server may not have noticed yet that the three were abandoned that hang, were reset or truncated.
        assert proxy.max_in_flight <= 4 + 3
    assert disturbed == undisturbed


def test_a_server_restart_does_not_change_the_table(
    vllm_server: VllmServer, model: Path, mixed_prompts: str, sample: Callable[..., list[Group]]
) -> None:
    undisturbed = sample(open_engine(model, vllm_server.base_url), mixed_prompts, max_new_tokens=60)

    def restart(number: int) -> None:
        if number == 6:
            vllm_server.kill()
            vllm_server.start()

    with FaultProxy(vllm_server.base_url, while_in_flight=restart) as proxy:
        engine = open_engine(model, proxy.base_url, concurrency=3, retries=60)
        disturbed = sample(engine, mixed_prompts, max_new_tokens=60)
        assert proxy.unforwarded > 0
    vllm_server.wait_until_healthy()
    assert disturbed == undisturbed


def test_the_api_key_reaches_the_server_and_nothing_else(
    vllm_server: VllmServer, model: Path, mixed_prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-test-93be"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    notices: list[str] = []
    with FaultProxy(vllm_server.base_url, {2: "500"}) as proxy:
        chosen = GenerateOptions(model=str(model), engine="openai", samples=2, max_new_tokens=4)
        url = proxy.base_url
        generate_groups(
            mixed_prompts,
            str(tmp_path / "out"),
            chosen,
            RecordedProgress(notices.append),
            make_engine=lambda _: open_engine(model, url),
        )
        assert proxy.authorizations == {f"Bearer {key}"}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 1
    assert not any(key.encode() in path.read_bytes() for path in files)
    assert key not in repr(open_table(str(tmp_path / "out"), "groups").arrow().schema.metadata)
    assert key not in "\n".join(notices)


def drop_token_ids(answer: dict[str, Any]) -> dict[str, Any]:
    """What a server answers that does not know `return_token_ids`."""
    for choice in answer.get("choices", []):
        del choice["token_ids"], choice["prompt_token_ids"]
    return answer


def refuse_all_but_openais_fields(body: dict[str, Any]) -> tuple[int, str] | None:
    known = {"model", "prompt", "n", "seed", "temperature", "top_p", "max_tokens", "stop", "logit_bias"}
    unknown = sorted(body.keys() - known)
    return (400, f"Unrecognized request argument supplied: {unknown[0]}") if unknown else None


PLAIN_SERVERS: dict[str, dict[str, Any]] = {
    "ignores vLLM's fields": {"edit": drop_token_ids},
    "refuses vLLM's fields": {"edit": drop_token_ids, "refuse": refuse_all_but_openais_fields},
}


@pytest.mark.parametrize("plain", PLAIN_SERVERS.values(), ids=PLAIN_SERVERS)
def test_a_server_without_token_ids_is_refused_unless_retokenizing_is_allowed(
    vllm_server: VllmServer, model: Path, plain: dict[str, Any]
) -> None:
    with FaultProxy(vllm_server.base_url, **plain) as proxy:
        engine = open_engine(model, proxy.base_url)
        with pytest.raises(UsageError, match=r"does not accept and return token ids .*or --allow-retokenize") as caught:
            sampled(engine, requests(3))
        assert "token_ids" in str(caught.value) or "Unrecognized request argument" in str(caught.value)
        assert len(proxy.bodies) == 1  # reported with the first answer


@pytest.mark.parametrize("plain", PLAIN_SERVERS.values(), ids=PLAIN_SERVERS)
def test_retokenized_samples_have_the_ids_of_the_text_and_no_logprobs(
    vllm_server: VllmServer, model: Path, plain: dict[str, Any]
) -> None:
    """The oracle: the texts that the same server gives for the same seeds, requested by hand."""
    tokenizer = load_tokenizer(locate_model(str(model)))
    asked = [
        Request((0, index), tokenizer.encode(f"Say {index} plum", add_special_tokens=False), 4, 1000 * index, 12)
        for index in range(8)
    ]
    bodies = (
        {"model": "tiny", "prompt": request.prompt_token_ids, "n": 4, "seed": request.seed, "max_tokens": 12}
        | {"temperature": 1.0, "logit_bias": {"2": 3}}
        for request in asked
    )
    answers = dict(Server(vllm_server.base_url, None, 64, 10, 600.0).post("/completions", bodies))
    with FaultProxy(vllm_server.base_url, **plain) as proxy:
        retokenized = sampled(open_engine(model, proxy.base_url, allow_retokenize=True), asked, SHORT)
        assert len(proxy.bodies) == 2 + len(asked)  # one probe per format, then every prompt once
    reasons = set()
    for index, request in enumerate(asked):
        answer = answers[index]
        assert isinstance(answer, dict)
        for sample, choice in zip(retokenized[request.key].samples, answer["choices"], strict=True):
            ids = tokenizer.encode(choice["text"], add_special_tokens=False)
            ids += [tokenizer.eos_token_id] if choice["finish_reason"] == "stop" else []
            assert (sample.token_ids, sample.logprobs, sample.retokenized) == (ids, None, True)
            assert sample.finish_reason == choice["finish_reason"]
            reasons.add(sample.finish_reason)
    assert reasons == {"stop", "length"}


def test_a_vllm_server_returns_token_ids_where_retokenizing_is_allowed(vllm_server: VllmServer, model: Path) -> None:
    runs = [
        sampled(open_engine(model, vllm_server.base_url, allow_retokenize=allow), requests(3))
        for allow in (True, False)
    ]
    assert runs[0] == runs[1]


def test_a_text_server_that_sees_another_prompt_is_refused(vllm_server: VllmServer, model: Path) -> None:
    def with_a_bos(answer: dict[str, Any]) -> dict[str, Any]:
        if "usage" in answer:
            answer["usage"]["prompt_tokens"] += 1
        return drop_token_ids(answer)

    with FaultProxy(vllm_server.base_url, edit=with_a_bos) as proxy:
        engine = open_engine(model, proxy.base_url, allow_retokenize=True)
        with pytest.raises(StageFailure, match="saw a prompt of 4 tokens where --model has 3"):
            sampled(engine, requests(3))


def test_a_prompt_that_the_server_refuses_stops_the_run_with_its_message(vllm_server: VllmServer, model: Path) -> None:
    too_long = Request((3, 1), [5] * 300, 2, 7, 12)
    engine = open_engine(model, vllm_server.base_url)
    with pytest.raises(StageFailure, match=r"row 1 of part 3 \(300 tokens.*maximum context length is 256.*--max-model"):
        sampled(engine, [*requests(2), too_long])


def test_a_completion_that_the_server_cuts_short_is_refused(vllm_server: VllmServer, model: Path) -> None:
    """vLLM clips max_tokens to its context in silence: 250 + 12 > 256."""
    engine = open_engine(model, vllm_server.base_url)
    with pytest.raises(StageFailure, match="ended a completion at 6 of 12 tokens, after a prompt of 250"):
        sampled(engine, [Request((0, 0), [5] * 250, 1, 7, 12)])


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change to the answers to requests of more than one token: the first look at a server stays as it is."""

    def edit(answer: dict[str, Any]) -> dict[str, Any]:
        if answer.get("usage", {}).get("completion_tokens", 0) > 1:
            change(answer)
        return answer

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answer: answer["choices"].pop(), r"returned choices \[0, 1\] for n=3"),
        (lambda answer: answer["choices"][0].update(prompt_token_ids=[9, 9]), r"other prompt token ids .*\[9, 9\]"),
        (lambda answer: answer["choices"][0].update(token_ids=None), "is not a completion"),
        (lambda answer: answer["choices"][1]["logprobs"]["token_logprobs"].pop(), "11 log-probs for 12 token ids"),
        (
            lambda answer: answer["choices"][0].update(finish_reason="stop"),
            "which is not an end-of-turn token of --model",
        ),
        (lambda answer: answer.pop("choices"), "is not a completion"),
    ],
)
def test_an_answer_that_cannot_be_right_is_refused(
    vllm_server: VllmServer, model: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    with (
        FaultProxy(vllm_server.base_url, edit=edited(change)) as proxy,
        pytest.raises(StageFailure, match=message),
    ):
        sampled(open_engine(model, proxy.base_url), requests(1))


def test_an_aborted_choice_becomes_an_aborted_sample_without_tokens(vllm_server: VllmServer, model: Path) -> None:
    def abort(answer: dict[str, Any]) -> None:
        answer["choices"][1]["finish_reason"] = "abort"

    with FaultProxy(vllm_server.base_url, edit=edited(abort)) as proxy:
        [group] = sampled(open_engine(model, proxy.base_url), requests(1)).values()
    assert [sample.finish_reason for sample in group.samples] == ["length", "abort", "length"]
    assert (group.samples[1].token_ids, group.samples[1].logprobs) == ([], [])


def test_a_server_with_tempered_logprobs_is_refused_before_sampling(vllm_server: VllmServer, model: Path) -> None:
    """Where one token is allowed, the processed distribution gives it log-prob 0 (so does vLLM's processed mode)."""

    def processed(answer: dict[str, Any]) -> dict[str, Any]:
        for choice in answer.get("choices", []):
            choice["logprobs"]["token_logprobs"] = [0.0]
        return answer

    with FaultProxy(vllm_server.base_url, edit=processed) as proxy:
        with pytest.raises(StageFailure, match="--logprobs-mode raw_logprobs"):
            sampled(open_engine(model, proxy.base_url), requests(1))
        assert len(proxy.bodies) == 1


def test_engine_arguments_become_fields_of_the_request(vllm_server: VllmServer, model: Path) -> None:
    with FaultProxy(vllm_server.base_url) as proxy:
        sampled(open_engine(model, proxy.base_url, {"user": "me"}), requests(2), replace(SAMPLING, top_k=1))
        assert {(body["top_k"], body["user"], body["min_p"]) for body in proxy.bodies} == {(1, "me", 0.0)}


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"top_k": 5}, "top_k"),
        ({"min_p": 0.1}, "min_p"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"stop": ("x",)}, "stop"),
        ({"arguments": OpenAISamplingArguments(min_tokens=2)}, "sampling_arg"),
    ],
)
def test_a_server_of_text_refuses_what_its_api_lacks(
    vllm_server: VllmServer, model: Path, changes: dict[str, Any], option: str
) -> None:
    with FaultProxy(vllm_server.base_url, edit=drop_token_ids) as proxy, pytest.raises(UsageError) as caught:
        sampled(open_engine(model, proxy.base_url, allow_retokenize=True), requests(1), replace(SAMPLING, **changes))
    assert caught.value.option == option


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"server": None}, "base_url: the openai engine needs a server's address"),
        ({"quantization": "fp8"}, "quantization: the openai engine cannot change it"),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size: the openai engine cannot change it"),
        ({"gpu_memory_utilization": 0.5}, "gpu_memory_utilization: the openai engine cannot change it"),
        ({"adapter": "lora"}, "adapter: the openai engine needs the server's name of the adapter"),
    ],
)
def test_an_option_that_the_engine_cannot_follow_is_wrong_usage(changes: dict[str, Any], message: str) -> None:
    server = ServerOptions("http://127.0.0.1:9/v1", None, 64, 10, 600.0, allow_retokenize=False)
    options = EngineOptions("model", "float32", 256, "cpu", 32, server=server)
    with pytest.raises(UsageError, match=f"^{message}"):
        OpenAIEngine(replace(options, **changes), OpenAIArguments())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("echo", "x", "'echo' cannot be set here. The table's content depends on it"),
        ("stop", "x", "'stop' cannot be set here. Use --stop"),
        ("seed", "1", "'seed' cannot be set here. Use --seed"),
        ("top_k", "7", "'top_k' cannot be set here. Use --top-k"),
        ("logit_bias", "{}", "'logit_bias' cannot be set here. Use --sampling-arg logit_bias.ID=…"),
    ],
)
def test_a_reserved_or_wrong_engine_argument_is_wrong_usage(name: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_engine_arguments("openai", {name: value})
    assert caught.value.option == "engine_arg"


def test_a_wrong_engine_argument_is_reported_in_the_words_of_the_server(vllm_server: VllmServer, model: Path) -> None:
    with pytest.raises(GraoError, match="priority"):
        sampled(open_engine(model, vllm_server.base_url, {"priority": "much"}), requests(1))


def test_without_prompts_the_server_gets_no_request(vllm_server: VllmServer, model: Path) -> None:
    with FaultProxy(vllm_server.base_url) as proxy:
        assert list(open_engine(model, proxy.base_url).generate([[], []], SAMPLING)) == []
        assert proxy.bodies == []


def test_the_command_samples_through_a_server_and_resumes(
    vllm_server: VllmServer, model: Path, prompts: str, tmp_path: Path
) -> None:
    command: list[object] = ["generate", prompts, tmp_path / "out", "--model", model, "--engine", "openai"]
    command += ["--samples", 3, "--max-new-tokens", 6, "--prompts-per-part", 4, "--base-url", vllm_server.base_url]
    first = tiny.grao_json(*command, "--served-model", "tiny", "--concurrency", 2)
    assert (first["groups"], first["samples"], first["parts_made"]) == (10, 30, 3)
    again = tiny.grao_json(*command, "--retries", 3)
    assert (again["parts_found"], again["parts_made"]) == (3, 0)
    assert again["fingerprint"] == first["fingerprint"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ([], 2, "the openai engine needs a server's address"),
        (["--base-url", "localhost:8000/v1"], 2, "is not a URL such as"),
        (["--base-url", "http://127.0.0.1:9/v1"], 1, "Is the server running?"),
    ],
)
def test_the_command_says_what_is_wrong_with_the_server(
    model: Path, prompts: str, tmp_path: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    result = tiny.grao("generate", prompts, tmp_path / "out", "--model", model, "--engine", "openai", *arguments)
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (exit_code, True)
    assert message in result.stderr
