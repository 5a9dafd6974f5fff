"""The chain of an output: all that it was made from, as far as it is found."""

from dataclasses import dataclass

from grao_pipeline.lineage.catalog import Catalog, Output
from grao_pipeline.lineage.inputs import NamedInput, inputs_of


@dataclass(frozen=True)
class Link:
    """An input of an output of the chain.

    Attributes:
        reader: the output that was made from it.
        output: None where it was not found.
    """

    named: NamedInput
    reader: Output
    output: Output | None


def chain_of(output: Output, catalog: Catalog) -> list[Link]:
    """The inputs of an output and theirs, each once: what something was made from precedes it."""
    links: list[Link] = []
    seen = {output.fingerprint}

    def follow(reader: Output) -> None:
        for named in inputs_of(reader.provenance.inputs) if reader.provenance is not None else ():
            if named.fingerprint in seen:
                continue
            origin = catalog.find(named.fingerprint)
            seen.update({named.fingerprint} if origin is None else {origin.fingerprint, origin.weights})
            if origin is not None:
                follow(origin)
            links.append(Link(named, reader, origin))

    follow(output)
    return links
