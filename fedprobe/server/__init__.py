"""The aggregator: sees sums over users, releases only noised ones."""
