"""Federated shards: reading, checking, describing them, making demo ones, rehearsing bugs in them."""
