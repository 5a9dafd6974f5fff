"""Groups + scores → RAS, NAG and their intervals."""
