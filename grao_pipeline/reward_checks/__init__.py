"""What rewards do: two of them compared by the training weights they lead to, and one audited for what it pays for."""
