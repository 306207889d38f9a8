"""Torch modules and losses, and building them from a configuration; knows nothing of users or files of data."""
