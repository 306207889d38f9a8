"""Hypotheses about what is wrong, tested between two sets of synthetic samples; one file per kind of cause."""

# The names of the findings that are looked for, by the kind of sample.
LOOKED_FOR = {
    "images": ("inversion",),
    "words": ("joined-tokens",),
    "sentences": ("oov-by-position",),
}
