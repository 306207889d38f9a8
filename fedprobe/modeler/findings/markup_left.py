"""Markup left in: tags, entities and the marks of other formats inside words."""

import re

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

_TAG = re.compile(r"</?([a-z][a-z0-9]*)(?:\s[^<>]*)?/?>|</?([a-z][a-z0-9]*)$", re.ASCII | re.IGNORECASE)
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#\d{1,6}|#x[0-9a-fA-F]{1,6});")
_ATTRIBUTE = re.compile(r"(?:href|src|class|style|id|alt|title)=[\"'].*", re.IGNORECASE)
# Markdown, BBCode, LaTeX, templates, addresses, string literals and their line breaks.
_OTHER = re.compile(
    r"^(?:\*\*|__|~~)\w|\w(?:\*\*|__|~~)$|^(`+)\w[^`]*\1$|\]\(|\[/[a-z]+\]|\\[a-z]+\{|\{\{|\}\}|\\[ntr]$|^https?://|^www\."
    r"|^[bru](['\"]).+\2$"
)
_TAG_NAMES = frozenset(
    "a abbr article b blockquote body br center code dd del div dl dt em font footer form h1 h2 h3 h4 h5 h6 head header"
    " hr html i iframe img input ins kbd label li link main meta nav ol option p pre q s script section select small"
    " span strike strong style sub sup table tbody td textarea th thead title tr tt u ul var video".split()
)


def has_markup(word: str, known: KnownWords) -> bool:
    """Whether there is a tag of HTML, an entity, or a mark of Markdown, BBCode, LaTeX or a string literal in `word`."""
    if any((tag[1] or tag[2]).lower() in _TAG_NAMES for tag in _TAG.finditer(word)):
        return True
    return bool(_ENTITY.search(word) or _ATTRIBUTE.match(word) or _OTHER.search(word))


MARKUP_LEFT = Cause("markup-left", "words with markup inside", has_markup)
