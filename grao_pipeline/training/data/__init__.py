"""What a training reads: tables, their origins, groups of token ids, batches."""
