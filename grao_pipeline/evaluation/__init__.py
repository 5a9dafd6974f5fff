"""Groups + scores → RAS, NAG and their bootstrap intervals."""
