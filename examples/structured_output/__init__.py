"""A real model learns to turn messages into JSON records, from references that are often wrong somewhere."""
