"""Rewrites of prompts, one file each: `f(prompt, …)` returns the `Prompt` that is written, or None to drop the row.

Further parameters are arguments, `--rewrite-arg key=value`. A rewrite gives the same at every run: chance is a hash.
"""

REWRITES = {"thought-dropout": "grao_pipeline.prompts.rewrites.thought_dropout:thought_dropout"}
