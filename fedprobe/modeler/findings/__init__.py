"""Hypotheses about what is wrong, tested between two sets of synthetic samples; one file per kind of cause."""
