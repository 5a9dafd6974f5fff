"""What came of a run, as one page: `grao report`, and what `grao view` shows of groups."""
