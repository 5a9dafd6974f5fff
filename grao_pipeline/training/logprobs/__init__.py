"""`grao logprobs`: the log-probs of groups under another model."""
