"""The policy that is trained: loading, attention, the LM head, devices and ranks."""
