"""Groups + scores → advantages, in Polars. Imports neither torch nor transformers."""
