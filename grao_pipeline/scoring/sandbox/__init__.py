"""Work that may not end, or may do harm, in processes of its own with limits."""
