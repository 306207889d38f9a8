"""Beside the private data: the only rooms that ever hold a raw example."""
