"""`grao view`: groups of any size, page by page, in a browser on this machine."""
