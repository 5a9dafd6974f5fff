"""The rounds' YAML, compiled to a typed plan."""
