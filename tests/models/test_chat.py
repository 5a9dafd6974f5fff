"""Conversations become the tokens of the chat template, and references the tokens after them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from grao_pipeline.errors import InputError
from grao_pipeline.models.chat import PromptTokenizer, stop_token_ids
from grao_pipeline.models.source import load_tokenizer, locate_model
from grao_pipeline.models.templates import PLAIN_TEMPLATE, chat_template, read_template
from tests import tiny
from tests.tiers import examples

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Say hello."},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Again?"},
]
CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n"
    "<|im_start|>user\nSay hello.<|im_end|>\n"
    "<|im_start|>assistant\nHello!<|im_end|>\n"
    "<|im_start|>user\nAgain?<|im_end|>\n"
    "<|im_start|>assistant\n"
)

PLAIN = (
    "System: Be brief.\n\n"
    "Human: Say hello.\n\n"
    "Assistant: Hello!<|im_end|>\n\n"
    "Human: Again?\n\n"
    "Assistant:"
)  # fmt: skip


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny.make_tokenizer(tmp_path_factory.mktemp("chat"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizer of a base model: no chat template."""
    return tiny.make_tokenizer(tmp_path_factory.mktemp("base"), chat_template=None)


def metaspace_tokenizer() -> Any:
    """One in the manner of Llama 2: a token per letter, ▁ for a space, and a ▁ before whatever a text begins with."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = ["<unk>", "<s>", "</s>", "▁", *sorted(set("\n: HumanAssistantHiyes"))]
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def test_a_prompt_follows_the_tokenizers_template_up_to_the_answer(chat: Any) -> None:
    ids = PromptTokenizer(chat, [2]).prompt(CONVERSATION)
    assert chat.decode(ids) == CHATML
    assert ids == chat(CHATML, add_special_tokens=False)["input_ids"]


def test_a_base_model_reads_the_plain_template(base: Any) -> None:
    assert base.decode(PromptTokenizer(base, [2]).prompt(CONVERSATION)) == PLAIN


def test_the_plain_template_begins_with_the_bos_token_if_there_is_one() -> None:
    tokenizer = metaspace_tokenizer()
    ids = PromptTokenizer(tokenizer, [2]).prompt([{"role": "user", "content": "Hi"}])
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(("template", "rendered"), [(None, CHATML), (PLAIN_TEMPLATE, PLAIN)], ids=["chatml", "plain"])
def test_prompt_and_reference_are_the_conversation_up_to_its_end_of_turn(
    chat: Any, template: str | None, rendered: str
) -> None:
    tokenizer = PromptTokenizer(chat, [2], template)
    reference = tokenizer.reference(CONVERSATION, "Hello again!")
    space = " " if template else ""
    assert chat.decode([*tokenizer.prompt(CONVERSATION), *reference]) == f"{rendered}{space}Hello again!<|im_end|>"
    assert reference[-1] == 2
    assert reference.count(2) == 1


@settings(max_examples=examples(60))
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30))
def test_any_reference_survives_as_text(chat: Any, text: str) -> None:
    """Byte-level tokens lose nothing; Jinja keeps all but what the template itself would not."""
    tokenizer = PromptTokenizer(chat, [2])
    ids = tokenizer.reference(CONVERSATION, text)
    assert chat.decode([*tokenizer.prompt(CONVERSATION), *ids]) == f"{CHATML}{text}<|im_end|>"


def test_a_tokenizer_that_prefixes_a_space_adds_none_inside_a_conversation() -> None:
    """Alone, `yes` would become `▁yes`: a reference that begins with a space that no conversation holds."""
    tokenizer = metaspace_tokenizer()
    template = (
        "{% for m in messages %}{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}assistant\n{% endif %}"
    )
    ids = PromptTokenizer(tokenizer, [2], template).reference([{"role": "user", "content": "Hi"}], "yes")
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("yes", add_special_tokens=False))[0] == "▁"
    assert tokenizer.convert_ids_to_tokens(ids) == ["y", "e", "s", "</s>"]


def test_a_token_that_would_span_the_border_is_split_at_it(chat: Any) -> None:
    """Behind `pl`, the reference `um` would merge into `plum`; the prompt's tokens are the policy's, so it must not."""
    template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if not add_generation_prompt %}<|im_end|>{% endif %}"
    )
    tokenizer = PromptTokenizer(chat, [2], template)
    prompt = tokenizer.prompt([{"role": "user", "content": " pl"}])
    ids = tokenizer.reference([{"role": "user", "content": " pl"}], "um")
    whole = chat.encode(" plum<|im_end|>", add_special_tokens=False)
    assert whole[: len(prompt)] != prompt  # the case did occur
    assert chat.decode([*prompt, *ids]) == " plum<|im_end|>"


def test_where_the_template_rewrites_the_prompt_a_reference_is_bare_text_and_eos(chat: Any) -> None:
    """This template shows a count of the messages, so the prompt is not the beginning of the whole."""
    template = (
        "{{ messages | length }} {% for m in messages %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}"
    )
    tokenizer = PromptTokenizer(chat, [2], template)
    assert chat.decode(tokenizer.prompt(CONVERSATION)).startswith("4 ")
    assert tokenizer.reference(CONVERSATION, "Hello") == [*chat.encode("Hello", add_special_tokens=False), 2]


def test_a_template_without_an_end_of_turn_gets_eos(chat: Any) -> None:
    template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    ids = PromptTokenizer(chat, [2], template).reference(CONVERSATION, "Hello")
    assert ids == [*chat.encode("Hello\n", add_special_tokens=False), 2]


def test_the_templates_text_after_the_end_of_turn_is_cut_off(chat: Any) -> None:
    ids = PromptTokenizer(chat, [2]).reference(CONVERSATION, "Hello")  # the template ends a turn with <|im_end|>\n
    assert chat.decode(ids) == "Hello<|im_end|>"


def test_the_end_of_turn_may_be_another_stop_token_than_eos(chat: Any) -> None:
    """As in models whose EOS ends a document, and whose generation_config.json names the token that ends a turn."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m['content'] }}<|pad|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>{% endif %}"
    )
    ids = PromptTokenizer(chat, [0, 2], template).reference(CONVERSATION, "Hello")
    assert chat.decode(ids) == "Hello<|pad|>"


def test_a_base_model_stops_at_its_end_of_turn_token_even_if_that_is_not_eos(chat: Any, tmp_path: Path) -> None:
    """As Qwen's base models: EOS is the end of a text, and the template ends turns with another special token."""
    chat.save_pretrained(str(tmp_path))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        str(tmp_path), eos_token="<|pad|>", additional_special_tokens=["<|im_start|>", "<|im_end|>"]
    )
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    prompts = PromptTokenizer(tokenizer, [tokenizer.eos_token_id], tiny.CHAT_TEMPLATE)
    assert prompts.stop_token_ids == tuple(sorted((tokenizer.eos_token_id, end)))
    reference = prompts.reference([{"role": "user", "content": "Say hello."}], "hello")
    assert tokenizer.decode(reference) == "hello<|im_end|>"


def test_the_text_of_a_completion_has_no_special_tokens(chat: Any) -> None:
    ids = chat.encode("Hello world!<|im_end|>", add_special_tokens=False)
    assert PromptTokenizer(chat, [2]).text(ids) == "Hello world!"
    assert PromptTokenizer(chat, [2]).text([]) == ""


def test_a_base_model_without_end_of_sequence_has_no_stop_tokens(chat: Any, tmp_path: Path) -> None:
    endless = PreTrainedTokenizerFast(tokenizer_object=chat.backend_tokenizer)
    tokenizer = PromptTokenizer(endless, stop_token_ids(endless, tmp_path))
    assert tokenizer.stop_token_ids == ()
    assert endless.decode(tokenizer.reference([{"role": "user", "content": "Hi"}], "Hello")) == " Hello\n\n"


def test_without_a_tokenizers_eos_a_reference_ends_with_the_models(chat: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 2}')
    endless = PreTrainedTokenizerFast(tokenizer_object=chat.backend_tokenizer)
    tokenizer = PromptTokenizer(endless, stop_token_ids(endless, tmp_path))
    assert tokenizer.reference([{"role": "user", "content": "Hi"}], "Hello")[-1] == 2


@pytest.mark.parametrize(
    ("generation_config", "config", "expected"),
    [
        (None, {"eos_token_id": [9, 7]}, {2, 7, 9}),
        ({}, {"eos_token_id": 7}, {2, 7}),
        ({"eos_token_id": []}, {"eos_token_id": 7}, {2, 7}),
        ({"eos_token_id": 5}, {"eos_token_id": 7}, {2, 5}),
        (None, {"text_config": {"eos_token_id": [8]}}, {2, 8}),
        (None, {"eos_token_id": None, "text_config": None}, {2}),
    ],
)
def test_without_those_of_the_generation_config_stop_tokens_are_the_configs(
    generation_config: dict[str, Any] | None, config: dict[str, Any], expected: set[int], chat: Any, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation_config is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation_config))
    assert set(stop_token_ids(chat, tmp_path)) == expected


@pytest.mark.parametrize(
    ("declared", "expected"),
    [({}, {2}), ({"eos_token_id": None}, {2}), ({"eos_token_id": 7}, {2, 7}), ({"eos_token_id": [9, 7, 2]}, {2, 7, 9})],
)
def test_stop_tokens_are_those_of_the_tokenizer_and_of_the_generation_config(
    declared: dict[str, Any], expected: set[int], chat: Any, tmp_path: Path
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(declared))
    assert set(stop_token_ids(chat, tmp_path)) == expected


def test_without_a_generation_config_the_tokenizers_eos_stops(chat: Any, tmp_path: Path) -> None:
    assert stop_token_ids(chat, tmp_path) == [2]


def test_a_damaged_generation_config_is_named(chat: Any, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(InputError, match=f"{tmp_path}/generation_config.json is not JSON"):
        stop_token_ids(chat, tmp_path)


@pytest.mark.parametrize("declared", ["2", 2.0, True, [7, None], [[7]], {"id": 7}])
def test_what_is_no_stop_token_is_named(declared: object, chat: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"eos_token_id": declared}}))
    with pytest.raises(InputError, match=f"{tmp_path}: the eos_token_id of .* must be a token ID or a list of them"):
        stop_token_ids(chat, tmp_path)


def test_of_several_templates_the_default_one_is_used(chat: Any, tmp_path: Path) -> None:
    chat.save_pretrained(str(tmp_path))
    several = PreTrainedTokenizerFast.from_pretrained(str(tmp_path))
    several.chat_template = {"default": "D{{ messages[0]['content'] }}", "tool_use": "T"}
    assert chat_template(several) == "D{{ messages[0]['content'] }}"
    several.chat_template = {"tool_use": "T"}
    assert chat_template(several) == PLAIN_TEMPLATE


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "Unexpected end of template"),
        ("{{ raise_exception('no system role') }}", "conversation of system, user, assistant, user: no system role"),
        ("{{ messages[0]['content'].nothing.there }}", "has no attribute 'nothing'"),
    ],
)
def test_a_template_that_fails_is_an_input_error(chat: Any, template: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PromptTokenizer(chat, [2], template).prompt(CONVERSATION)


def test_a_template_file_is_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{{ 'ä' }}")
    assert read_template(str(path)) == "{{ 'ä' }}"
    assert read_template(None) is None
    with pytest.raises(InputError, match=f"Cannot read {tmp_path}/none.jinja: "):
        read_template(f"{tmp_path}/none.jinja")


def test_a_model_without_tokenizer_is_refused(model: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    with pytest.raises(InputError, match=f"{tmp_path} has no (usable )?tokenizer"):
        load_tokenizer(locate_model(str(tmp_path)))


@pytest.mark.parametrize(
    "changes", [{"model_max_length": [5]}, {"model_max_length": {}}, {"extra_special_tokens": [[7]]}]
)
def test_a_tokenizer_config_that_cannot_be_is_one_message(model: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InputError, match=f"Cannot load the tokenizer in {copy}"):
        load_tokenizer(locate_model(str(copy)))
