"""The only code that opens a file of a table: parts, commits, manifests, verification, local and remote."""
