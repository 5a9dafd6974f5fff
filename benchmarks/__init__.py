"""Measured comparisons with peers: each script prints one table of ratios, both sides in one run."""
