"""The demo: a small model learns to translate words, from references that all leave some untranslated."""
