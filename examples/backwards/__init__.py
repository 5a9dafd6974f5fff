"""The demo: words backwards, with commas, with a full stop."""
