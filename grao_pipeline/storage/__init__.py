"""The only code that opens files of tables: parts, commits, manifests, verification, local and remote."""
