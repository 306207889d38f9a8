"""What a cause is: something that can have gone wrong with words, and which words it explains."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from fedprobe.modeler.findings.known_words import KnownWords

Explains = Callable[[str, KnownWords], bool]


@dataclass(frozen=True)
class Cause:
    """A kind of cause.

    `name` is a stable word; `has` ends the sentence "runs/after has ...", which is said of the side that has more.
    `explains(word, known)` tells whether the cause makes `word` of a known one. `among` takes a set of words and
    returns those that the cause explains, where that takes more than one to see; by default each word is asked alone.
    `mirror` is what it is called where it is the first side, the healthy one, that has more: the name where that is
    None. `unheard_of`: no tokenizer makes such words, so that where none was released there are none.
    """

    name: str
    has: str
    explains: Explains
    among: Callable[[Collection[str], KnownWords], set[str]] | None = None
    mirror: "Cause | None" = None
    unheard_of: bool = False

    def explained(self, words: Collection[str], known: KnownWords) -> set[str]:
        """Those of `words` that the cause explains."""
        if self.among is not None:
            return self.among(words, known)
        return {word for word in words if self.explains(word, known)}
