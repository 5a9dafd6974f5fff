"""What works on this machine: tried, not looked up."""
