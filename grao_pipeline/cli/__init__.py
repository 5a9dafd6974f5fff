"""The commands: options, one library call, a summary."""
