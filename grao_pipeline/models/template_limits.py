"""Bounds on the work of chat templates, which come with models from outside.

The environment is that of transformers: Jinja's sandbox, which bounds what a template may touch. Work is counted here,
in units of about a microsecond, and never in seconds: a template that is refused on one machine is refused on all.
"""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import lru_cache, partial, wraps
from typing import TYPE_CHECKING

from grao_pipeline.models import template_operations as operations
from grao_pipeline.models.template_operations import TemplateLimit
from grao_pipeline.plugins import require

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.nodes import Node
    from jinja2.sandbox import SandboxedEnvironment

WORK = 1_000_000
"""Units of one rendering: about a second."""
WORK_PER_CHARACTER = 20
"""Units in addition, per character of the conversation."""
PASS, CALL, MACRO = 10, 10, 60
"""Units of a pass through a loop, of a call of a function or filter, and of a call of a macro in addition."""
LONGEST_TEMPLATE = 1_000_000
"""Characters; those of known models have some thousands."""
FREE_FILTERS = ("length", "count", "first", "last", "default", "d")
"""Filters that take the same time for any value."""


class Work:
    """The work that one rendering may still do.

    Args:
        conversation: what the template is rendered with.
    """

    def __init__(self, conversation: Iterable[object]) -> None:
        self._left = WORK
        self._largest = 0
        self._left += WORK_PER_CHARACTER * self.spend_on(conversation)

    def tick(self, units: int) -> None:
        """One pass through a loop, or one call of a macro: what is not counted can touch the largest text so far."""
        self._spend(units + self._largest // 1000)

    def spend_on(self, value: object, units: int = 0) -> int:
        """Count the texts and items of a value, nested ones as often as they occur; their number of characters.

        Args:
            units: in addition.

        Raises:
            TemplateLimit: the work is used up, or a text is too large.
        """
        self._spend(units)
        waiting, characters = [value], 0
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                characters += len(item)
                self._largest = max(self._largest, len(item))
                self._spend(1 + len(item) // 100)
            elif isinstance(item, range):
                self._spend(1 + len(item))
            elif isinstance(item, list | tuple | Mapping):
                self._spend(1 + len(item))
                waiting.extend(item)
                if isinstance(item, Mapping):
                    waiting.extend(item.values())
        return characters

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise TemplateLimit("it works on and on: it was stopped after the work of about a second")


_CURRENT: ContextVar[Work] = ContextVar("work")


def render_bounded(source: str, variables: Mapping[str, object]) -> str:
    """Render a template with transformers' environment, and within bounds.

    Raises:
        TemplateLimit: the template does too much.
        Exception: whatever Jinja raises.
    """
    if len(source) > LONGEST_TEMPLATE:
        raise TemplateLimit(f"it has {len(source):,} characters, more than {LONGEST_TEMPLATE:,}")
    template = _compiled(source)
    token = _CURRENT.set(Work([variables]))
    try:
        return str(template.render(**variables))
    finally:
        _CURRENT.reset(token)


@lru_cache(maxsize=32)
def _compiled(source: str) -> "Template":
    """The template, with a count at every place where work is done."""
    environment = _environment()
    tree = environment.parse(source)
    _counted_tree(tree)  # in place
    tree.set_environment(environment)
    code = environment.compile(tree)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


def _environment() -> "SandboxedEnvironment":
    """That in which transformers compiles templates, with bounded operations."""
    utils = require("transformers.utils.chat_template_utils")
    environment = utils._compile_jinja_template("").environment.overlay()  # transformers has no public name for it
    environment.globals = {name: value for name, value in environment.globals.items() if name != "lipsum"}
    environment.filters = {name: _bounded_filter(name, value) for name, value in environment.filters.items()}
    environment.intercepted_binops = frozenset(operations.BINARY)
    environment.binop_table = {**environment.binop_table, **{n: _counted(f) for n, f in operations.BINARY.items()}}
    environment.call = partial(_call, environment.call)
    environment.wrap_str_format = partial(operations.bounded_format, environment.wrap_str_format)
    environment.finalize = _passed
    environment.grao_tick = _tick
    environment.grao_passed = _passed
    environment.grao_iterated = _iterated
    environment.grao_concatenated = _counted(operations.concatenate)
    bounded: SandboxedEnvironment = environment
    return bounded


def _tick(units: int) -> None:
    _CURRENT.get().tick(units)


def _iterated(value: object) -> object:
    _CURRENT.get().tick(len(value) if hasattr(value, "__len__") else 1)
    return value


def _passed(value: object) -> object:
    _CURRENT.get().spend_on(value)
    return value


def _counted(function: Callable[..., object]) -> Callable[..., object]:
    return lambda *arguments: _passed(function(*arguments))


def _call(
    call: Callable[..., object], context: object, function: Callable[..., object], *arguments: object, **named: object
) -> object:
    """A call in a template: of a method, a macro, a global."""
    if function in (_tick, _iterated, _passed):
        return function(*arguments)
    arguments = operations.check_method(function, arguments)
    _CURRENT.get().spend_on([arguments, named], CALL)
    return _passed(call(context, function, *arguments, **named))


def _bounded_filter(name: str, function: Callable[..., object]) -> Callable[..., object]:
    if name in FREE_FILTERS:
        return function

    @wraps(function)  # Jinja asks a filter's attributes what to pass to it
    def bounded(*arguments: object, **named: object) -> object:
        split = 1 if hasattr(function, "jinja_pass_arg") else 0  # Jinja's own first argument
        given = operations.check_filter(name, arguments[split:], named)
        _CURRENT.get().spend_on([given, named], CALL)
        return _passed(function(*arguments[:split], *given, **named))

    return bounded


def _counted_tree(node: "Node") -> "Node":
    """A template's tree, with a count at every loop and macro, and at what makes texts and lists."""
    node_class = require("jinja2.nodes").Node
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            setattr(node, name, [_counted_tree(item) if isinstance(item, node_class) else item for item in value])
        elif isinstance(value, node_class):
            setattr(node, name, _counted_tree(value))
    return _counted_node(node)


def _counted_node(node: "Node") -> "Node":
    nodes = require("jinja2.nodes")

    def call(name: str, *arguments: "Node") -> "Node":
        function = nodes.EnvironmentAttribute(name, lineno=node.lineno)
        called: Node = nodes.Call(function, list(arguments), [], None, None, lineno=node.lineno)
        return called

    if isinstance(node, nodes.For):
        node.iter = call("grao_iterated", node.iter)
    if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
        length = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        units = (PASS if isinstance(node, nodes.For) else MACRO) + length // 100
        ticked = call("grao_tick", nodes.Const(units, lineno=node.lineno))
        node.body.insert(0, nodes.ExprStmt(ticked, lineno=node.lineno))
    if isinstance(node, nodes.Concat):
        return call("grao_concatenated", *node.nodes)
    is_value = isinstance(node, nodes.List | nodes.Tuple | nodes.Dict) and getattr(node, "ctx", "load") == "load"
    if is_value and not all(isinstance(child, nodes.Const) for child in node.iter_child_nodes()):
        return call("grao_passed", node)
    return node
