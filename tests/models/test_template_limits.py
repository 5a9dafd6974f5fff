"""Chat templates are rendered as transformers renders them, and within bounds of work and memory."""

import resource
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from grao_pipeline.models.template_limits import render_bounded
from grao_pipeline.models.template_operations import TemplateLimit
from tests import tiny

TEMPLATES = sorted((Path(__file__).parent / "templates").glob("*.jinja"))
CONVERSATION = [
    {"role": "user", "content": "Hello,\n  <b>you</b> & me?"},
    {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."},
    {"role": "user", "content": "2 + 2"},
]
TOOL = {"type": "function", "function": {"name": "f", "description": "ä", "parameters": {"type": "object"}}}
FEATURES = """{% set ns = namespace(n=0, last=none) %}
{% macro m(x, y=2) %}[{{ x ~ y }}]{{ caller() if caller }}{% endmacro %}
{%- for a, b in [(1, 'x'), (2, none)] %}{{ loop.index0 }}{{ a * 3 + 1 }}{{ b or 'n' }}{% set ns.n = ns.n + a %}
{% endfor -%}
{% for m_ in messages[::-1] if m_.role != 'user' %}{{ m_['content'][2:5] }}{% break %}{% else %}none{% endfor %}
{{ ns.n ** 2 }} {{ '%s-%05.2f' % ('a', 1.5) }} {{ '{:>4}|{}'.format(7, 'b') }}
{{ m('q') }}{% call m(1) %}in{% endcall %}
{% set block %}  {{ messages | map(attribute='role') | join(', ') }}{% endset %}
{{ block | trim | upper | replace('U', 'w') }}
{% generation %}{{ {'k': [1, {'z': true}]} | tojson(indent=2) }}{% endgeneration %} {{ missing is defined }} {{ no }}
{{ 'a,b'.split(',') | list }} {{ 'a b\n c' | indent(2) }} {{ [1, [2]] + [3] }} {{ dict(a=1).items() | list }}
{%- for x in [1, [2, [3]]] recursive %}<{{ loop(x) if x is iterable else x }}>{% endfor %}"""


@pytest.mark.parametrize("source", [*(path.read_text() for path in TEMPLATES), FEATURES], ids=range(len(TEMPLATES) + 1))
@pytest.mark.parametrize("tools", [None, [TOOL]], ids=["without tools", "tools"])
def test_a_template_is_rendered_as_transformers_renders_it(source: str, tools: Any) -> None:
    given = {"bos_token": "<s>", "eos_token": "</s>", "strftime_now": lambda form: "today"}

    def outcome(render: Any) -> str:
        try:
            return str(render())
        except Exception as error:  # a template may refuse tools, in either way of rendering
            return f"{type(error).__name__}: {error}"

    def theirs() -> str:
        texts, _ = render_jinja_template([CONVERSATION], tools, None, source, add_generation_prompt=True, **given)
        return str(texts[0])

    ours = {"messages": CONVERSATION, "tools": tools, "documents": None, "add_generation_prompt": True, **given}
    assert outcome(lambda: render_bounded(source, ours)) == outcome(theirs)


TOO_MUCH = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% set l = range(99999) | list %}{% for i in l %}{% for j in l if false %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in range(99999) %}{{ range(99999) | list | sum }}{% endfor %}",
    "{{ range(99999) | map('string') | join('x' * 4000000) }}",
    "{{ 'a' * 10 ** 10 }}",
    "{{ 'a'.ljust(10 ** 10) }}{{ 'a' | center(10 ** 10) }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '%*d' % (10 ** 9, 1) }}",
    "{{ '{:>{w}}'.format(1, w=10 ** 9) }}",
    "{{ messages | tojson(indent=10 ** 9) }}",
    "{{ ('b' * 99999) | replace('b', 'c' * 99999) }}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s=['ab']) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set x %}{{ns.s}}{{ns.s}}{% endset %}{% set ns.s = x %}"
    "{% endfor %}",
    "{% set ns = namespace(n=3) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "{{ 9 ** (9 ** 9) }}",
    "{% for i in range(99999) %}" + "z" * 900_000 + "{% endfor %}",
    "z" * 1_000_001,
]


@pytest.mark.slow
@pytest.mark.parametrize("source", TOO_MUCH, ids=range(len(TOO_MUCH)))
def test_a_template_that_works_on_and_on_is_stopped(source: str) -> None:
    """Within bounded memory, too: 1 GiB for the whole process more than at the beginning is never reached."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(TemplateLimit):
        render_bounded(source, {"messages": CONVERSATION})
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 10  # seconds of this process alone; about 1 on an idle machine
    assert after.ru_maxrss - before.ru_maxrss < 1 << 20


def test_a_long_conversation_may_do_more_than_a_short_one() -> None:
    """A loop over all pairs of messages, as some templates have for the last user's turn."""
    source = "{% for a in messages %}{% for b in messages %}{% endfor %}{% endfor %}{{ messages | length }}"
    messages = [{"role": "user", "content": "word " * 40}] * 400
    assert render_bounded(source, {"messages": messages}) == "400"


def test_a_template_beyond_all_bounds_stops_the_stage_at_its_first_prompt(
    tmp_path: Path, model: Path, prompts: str
) -> None:
    """Every other prompt would take as long."""
    (tmp_path / "template.jinja").write_text("{{ 'x' * 10 ** 9 }}")
    arguments = ["--model", model, "--engine", "transformers", "--chat-template", tmp_path / "template.jinja"]
    result = tiny.grao("generate", prompts, tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert "The chat template is refused: it makes a text or list of 1,000,000,000 characters" in result.stderr
