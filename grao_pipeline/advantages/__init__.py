"""Groups + scores → advantages, in Polars. Nothing here imports torch or transformers."""
