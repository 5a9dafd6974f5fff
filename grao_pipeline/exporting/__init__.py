"""Groups with their rewards → the files that other trainers read."""
