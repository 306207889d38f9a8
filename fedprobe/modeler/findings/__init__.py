"""Hypotheses about what is wrong, tested between two sets of synthetic samples; one file per kind of cause."""

# What is found of classes: by their means where a release has them, or by a primary model.
OF_CLASSES = ("class-missing", "class-over-represented", "label-confusion")
# The names of the findings that are looked for, by the kind of sample; of images some only where
# `image_causes.looked_for` says so.
LOOKED_FOR = {
    "images": (
        *("inversion", "brightness", "contrast", "gamma", "quantisation", "horizontal-flip", "vertical-flip"),
        *("transposition", "rotation", "translation", "scale", "blur", "compression", "noise", "blocked-region"),
        *("stuck-pixels", *OF_CLASSES),
    ),
    "words": (
        *("joined-tokens", "invisible-characters", "encoding-damage", "markup-left", "placeholders", "script-shift"),
        *("language-shift", "case-lost", "case-changed", "repeated-tokens", "punctuation-glued", "tokens-split"),
        *("truncation", "letters-changed", "words-appeared", "words-vanished"),
    ),
    "sentences": ("oov-by-position", "repeated-tokens", "truncation"),
}
