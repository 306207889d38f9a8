"""A shift of script: words in another script than the known ones, or in two scripts at once."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords, scripts_of


def is_in_other_script(word: str, known: KnownWords) -> bool:
    """Whether `word` has letters of a script in which hardly any known word is written."""
    return bool(scripts_of(word) - known.scripts)


SCRIPT_SHIFT = Cause("script-shift", "words with letters of another script", is_in_other_script)
