"""`grao merge`: a weighted sum of models of one architecture."""
