"""Filters: those of the options in `by_options.py`; the others, one file each, by the names in `NAMED_FILTERS`.

A named filter is a function `f(view, *, statistics, …)` that returns a Polars expression, true where a sequence is
masked. With the trait `before_statistics` the sequence counts in no statistic, as in `by_options.py`.
"""

NAMED_FILTERS = {
    "indistinct": "grao_pipeline.advantages.filters.indistinct:indistinct",
}
