"""Foreign tables with broken cells, types and bytes, for every stage that reads one."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.chaos.fuzz_run import Run
from benchmarks.chaos.fuzz_sources import as_arrow, rows_of
from benchmarks.chaos.mutations import broken, changed
from benchmarks.chaos.place import Place

ROWS = 4
GENERATE = ("--engine", "transformers", "--samples", "1", "--max-new-tokens", "1", "--device", "cpu")
REWARDS = (
    ("length", "--reward-arg", "target=6"),
    ("gsm8k",),
    ("exact-match", "--reward-arg", "field=answer"),
    ("numeric", "--reward-arg", "field=answer"),
)
ESTIMATORS = ("grao", "grpo", "rloo", "dr-grpo")
TYPES = (
    *(pa.int64(), pa.float64(), pa.string(), pa.large_string(), pa.binary(), pa.bool_(), pa.null(), pa.date32()),
    *(pa.timestamp("ns"), pa.decimal128(38, 2), pa.list_(pa.string()), pa.struct([("a", pa.int32())])),
    *(pa.dictionary(pa.int32(), pa.string()), pa.large_list(pa.float32()), pa.list_(pa.list_(pa.float16()))),
)
STAGES = ("score", "advantages", "evaluate", "inspect", "curriculum", "train", "generate")
WEIGHTS = (25, 25, 12, 12, 10, 8, 8)


def run(place: Place, directory: Path, generator: random.Random) -> Run:
    """A stage on tables of other software, of which one is broken."""
    stage = generator.choices(STAGES, WEIGHTS)[0]
    needs = {
        "score": ("groups",),
        "inspect": ("groups",),
        "generate": ("prompts",),
        "train": ("groups", "advantages"),
        "curriculum": ("prompts", "groups", "scores"),
    }.get(stage, ("groups", "scores"))
    wrong = generator.choice(needs)
    tables = {name: _write(place, name, directory / name, generator, name == wrong) for name in needs}
    out = directory / "out"
    options: dict[str, Callable[[], tuple[object, ...]]] = {
        "score": lambda: (tables["groups"], out, "--reward", *generator.choice(REWARDS), "--cache", "cache.sqlite"),
        "advantages": lambda: (
            *(tables["groups"], out, "--scores", tables["scores"]),
            *("--estimator", generator.choice(ESTIMATORS)),
        ),
        "evaluate": lambda: (tables["groups"], tables["scores"], out),
        "inspect": lambda: (tables["groups"],),
        "curriculum": lambda: (
            *(tables["prompts"], out, "--num-prompts", 2),
            *("--history", tables["groups"], tables["scores"]),
        ),
        "train": lambda: (
            *(tables["groups"], tables["advantages"], out, "--model", place.model),
            *("--dry-run", "--device", "cpu", "--allow-off-policy"),
        ),
        "generate": lambda: (tables["prompts"], out, "--model", place.model, *GENERATE),
    }

    def check() -> str | None:
        return wrong_numbers(out, tables["groups"]) if stage in ("score", "advantages") else None

    return Run(f"table → {stage}", (stage, *options[stage]()), check)


def _write(place: Place, name: str, directory: Path, generator: random.Random, is_wrong: bool) -> Path:
    """A table as other software writes it."""
    directory.mkdir()
    source: Path = getattr(place, name)
    rows = rows_of(source)[:ROWS]
    schema = pq.read_schema(next(iter(sorted(source.glob("part-*.parquet"))))).remove_metadata()
    table = pa.Table.from_pylist(rows, schema=schema)
    way = generator.random() if is_wrong else 1.0
    if way < 0.4:
        table = _with_odd_cells(rows, schema, generator)
    elif way < 0.75:
        table = _with_odd_columns(table, generator)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    if 0.75 <= way < 1.0:
        data = broken(data, generator)
    (directory / "table.parquet").write_bytes(data)
    return directory


def _with_odd_cells(rows: list[dict[str, Any]], schema: pa.Schema, generator: random.Random) -> pa.Table:
    for _ in range(generator.randint(1, 3)):
        row = generator.choice(rows)
        name = generator.choice(list(row))
        value = row[name]
        if generator.random() < 0.5:
            row[name] = _impossible(name, value, generator)
        else:
            row[name] = changed(value, generator)
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return as_arrow(rows)


def _impossible(name: str, value: Any, generator: random.Random) -> Any:
    """A value of the right type that cannot be."""
    texts = ('{"answer": NaN}', '{"answer": 1e999}', '{"a": ' * 3_000, "[1]", '{"a": "\\ud800"}', "null", "", "\0", "é")
    numbers = (float("nan"), float("inf"), -float("inf"), 1e38, 5.0, -1e30)
    tokens = (-1, 2**31 - 1, 100_000, 0)
    if isinstance(value, list):
        if generator.random() < 0.3 or not value:
            return generator.choice(([], [None], value * 2, value[:-1]))
        place = generator.randrange(len(value))
        return [*value[:place], _impossible(name, value[place], generator), *value[place + 1 :]]
    if isinstance(value, dict):
        key = generator.choice(list(value))
        return value | {key: _impossible(name, value[key], generator)}
    if isinstance(value, float):
        return generator.choice(numbers)
    return generator.choice(tokens) if isinstance(value, int) else generator.choice(texts)


def _with_odd_columns(table: pa.Table, generator: random.Random) -> pa.Table:
    """The columns in another order, of another type, missing, twice or renamed."""
    place = generator.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    action = generator.randrange(6)
    if action == 0:
        return table.remove_column(place)
    if action == 1:
        return table.append_column(name, column)
    if action == 2:
        return table.rename_columns([f"{other} " if other == name else other for other in table.column_names])
    if action == 3:
        return table.select(generator.sample(table.column_names, table.num_columns))
    if action == 4:
        return table.slice(0, generator.choice((0, 1))) if generator.random() < 0.5 else pa.concat_tables([table] * 2)
    kind = generator.choice(TYPES)
    try:
        odd = column.cast(kind)
    except (pa.ArrowException, ValueError):
        odd = pa.nulls(len(column), kind)
    try:
        pq.write_table(pa.table({name: odd}), pa.BufferOutputStream())
    except pa.ArrowException:
        odd = pa.nulls(len(column), pa.string())
    return table.set_column(place, name, odd)


def wrong_numbers(out: Path, groups: Path) -> str | None:
    """What is wrong with a finished table: a number that is not finite, or other rows than those of the groups."""
    rows = rows_of(out)
    num_groups = pq.read_metadata(groups / "table.parquet").num_rows
    if len(rows) != num_groups:
        return f"{len(rows)} rows for {num_groups} groups"
    for row in rows:
        for name in ("rewards", "advantages"):
            values = [value for value in row.get(name) or () if value is not None]
            if any(not -1e38 < value < 1e38 for value in values):
                return f"{name} {values}"
    return None
