"""YAML as a tree in which every value knows its line, so that whatever is wrong with it can be said where it stands."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from grao_pipeline.errors import InputError, UsageError
from grao_pipeline.files import read_text
from grao_pipeline.parsing import shown

MERGE_TAG = "tag:yaml.org,2002:merge"
LARGEST_FILE = 2**20
"""Bytes."""
DEEPEST = 50
"""Levels of lists and dictionaries."""
MOST_VALUES = 20_000
"""Values of a file, those of an alias counted where it stands: a few aliases of aliases are billions of values."""


@dataclass(frozen=True)
class Node:
    """A value and where it stands.

    Example: `Node({"beta": Node(0.5, "rounds.yaml:9")}, "rounds.yaml:8")`
    """

    value: Any
    """A scalar, a list of nodes, or a dictionary of nodes."""
    where: str
    """FILE:LINE; of a dictionary's entry, the line of its key."""

    def plain(self) -> Any:
        """The value without the lines."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value

    def error(self, message: str) -> UsageError:
        """An error to raise about this value."""
        return UsageError(f"{self.where}: {message}")

    def find(self, path: Iterable[Any]) -> "Node":
        """The node at the end of a path of keys and indices, or as far along it as there are nodes."""
        node = self
        for step in path:
            if not isinstance(node.value, dict | list):
                break
            try:
                node = node.value[step]
            except (KeyError, IndexError, TypeError):
                break
        return node

    def entries(self, expected: str) -> dict[Any, "Node"]:
        """The dictionary that this must be; an empty value is an empty one.

        Args:
            expected: what the error says, e.g. `train: expected options`.

        Raises:
            UsageError: it is something else.
        """
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.error(f"{expected}, found {shown(self.plain())}.")
        return self.value

    def without(self, key: str) -> "Node":
        """This dictionary without an entry."""
        return Node({name: node for name, node in (self.value or {}).items() if name != key}, self.where)

    def updated(self, changes: dict[Any, "Node"]) -> "Node":
        """This dictionary with entries replaced or added."""
        return Node({**(self.value or {}), **changes}, self.where)


def read_yaml(path: str) -> Node:
    """Read a YAML file.

    Raises:
        InputError: it cannot be read, is not YAML, or is too large or too deep for a file that a person wrote.
        UsageError: a key is given twice, or a value is not what its tag says.
    """
    loader = _Loader(read_text(path, LARGEST_FILE), path)
    try:
        root = loader.get_single_node()
        return Node(None, path) if root is None else _Tree(loader, path).node(root, loader.where(root))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else path
        raise InputError(f"{where}: the file is not YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    """The loader of PyYAML, for at most `MOST_VALUES` values in `DEEPEST` levels."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self._depth = self._num_values = 0
        try:
            super().__init__(text)
        except yaml.YAMLError as error:  # a character that YAML does not allow
            raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        self._num_values += 1
        if self._depth > DEEPEST or self._num_values > MOST_VALUES:
            reason = too_deep() if self._depth > DEEPEST else too_many()
            raise UsageError(f"{self.path}:{self.get_mark().line + 1}: {reason}")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def where(self, node: yaml.Node) -> str:
        """Where a node stands."""
        return f"{self.path}:{node.start_mark.line + 1}"

    def scalar(self, node: yaml.Node) -> Hashable:
        """The value of a scalar.

        Raises:
            UsageError: its text is not of the type that its tag or its form says, or a number has more.
        """
        try:
            value: Hashable = self.construct_object(node)
        # PyYAML's constructors raise whatever Python's conversions raise.
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            message = f"{self.where(node)}: {shown(node.value)} is not of type {kind}. Quote it where a text is meant."
            raise UsageError(message) from error
        if isinstance(value, int) and value.bit_length() > 63:
            raise UsageError(f"{self.where(node)}: {shown(node.value)}: a whole number has at most 64 bits.")
        return value


def _date(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    return loader.construct_yaml_timestamp(node)


# A package that vLLM imports makes dates texts in PyYAML's own loader.
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _date)


class _Tree:
    """PyYAML's nodes as a tree of ours: aliases and merges (`<<: *other`) in full."""

    def __init__(self, loader: _Loader, path: str) -> None:
        self._loader = loader
        self._path = path
        self._num_values = 0
        self._around: list[yaml.Node] = []

    def node(self, node: yaml.Node, where: str) -> Node:
        """A node with everything in it.

        Raises:
            UsageError: an alias names what it is a part of; a key is given twice; the values are too many.
        """
        self._num_values += 1
        if self._num_values > MOST_VALUES:
            raise UsageError(f"{where}: {too_many()}")
        if any(node is other for other in self._around):
            raise UsageError(f"{where}: recursive alias.")
        if not isinstance(node, yaml.CollectionNode):
            return Node(self._loader.scalar(node), where)
        if len(self._around) == DEEPEST:
            raise UsageError(f"{where}: {too_deep()}")
        self._around.append(node)
        value = self._entries(node) if isinstance(node, yaml.MappingNode) else self._items(node)
        self._around.pop()
        return Node(value, where)

    def _items(self, node: yaml.CollectionNode) -> list[Node]:
        return [self.node(item, self._loader.where(item)) for item in node.value]

    def _entries(self, node: yaml.CollectionNode) -> dict[Hashable, Node]:
        merged: dict[Hashable, Node] = {}
        entries: dict[Hashable, Node] = {}
        for key, value in node.value:
            line = self._loader.where(key)
            if key.tag == MERGE_TAG:
                # Of several, the first counts.
                merged = {**self._merged(self.node(value, line)), **merged}
                continue
            name = self._key(key)
            if name in entries:
                first = entries[name].where
                raise UsageError(f"{line}: {name} is given a second time; the first is at {first}. Remove one.")
            entries[name] = self.node(value, line)
        return {**merged, **entries}

    def _merged(self, node: Node) -> dict[Hashable, Node]:
        """The entries that `<<` adds: those of a dictionary, or of a list of them, of which the first counts."""
        merged: dict[Hashable, Node] = {}
        for source in reversed(node.value) if isinstance(node.value, list) else [node]:
            if not isinstance(source.value, dict):
                raise source.error(f"<<: expected a dictionary to merge, found {shown(source.plain())}.")
            merged.update(source.value)
        return merged

    def _key(self, key: yaml.Node) -> Hashable:
        if not isinstance(key, yaml.ScalarNode):
            message = f"{self._loader.where(key)}: expected a name as key. Quote text that begins with {{ or [."
            raise UsageError(message)
        return self._loader.scalar(key)


def too_deep() -> str:
    """The reason to refuse a value."""
    return f"lists and dictionaries are nested deeper than {DEEPEST} levels."


def too_many() -> str:
    """The reason to refuse a file."""
    return f"the file has more than {MOST_VALUES} values, those of aliases included."
