"""The formats of exports: name → place, one file each."""

EXPORTS = {
    name: f"grao_pipeline.exporting.formats.{name}:FORMAT"
    for name in ("preference", "sft", "kto", "flat", "openrlhf", "verl")
}
"""Name → `module:attribute`."""
