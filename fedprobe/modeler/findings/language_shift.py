"""A shift of language: the small words of another language, among words of the same script."""

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.known_words import KnownWords

# The most frequent words of some languages. What is known is no sign of another.
_SMALL_WORDS = frozenset(
    # German
    "der die das und ist nicht mit für ein eine zu den dem des im von auf sich auch es an als dass sind war wird bei"
    " wir ich sie werden aus oder aber wie noch nach wenn zum zur haben kann sein einen einer eines dieser diese nur"
    # French
    " le la les et est pas avec pour un une de du des dans que qui sur il elle ce cette ne se au aux sont être nous"
    " vous je par plus mais ou comme tout avoir fait son ses leur même aussi bien sans"
    # Spanish
    " el los las y es no con para una del en que por se lo su al como más pero sus le ya este esta son ser cuando muy"
    " sin sobre también hay fue porque todo está nos yo"
    # Italian
    " il lo gli e è non per di della che nel sono con si da come anche più ma questo questa alla dei una ha essere"
    # Portuguese
    " o os as e é não com para uma do da em que um dos das no na se por mais mas como foi ao ele seu sua ou ser quando"
    # Dutch
    " het een en van ik te dat die niet met voor zijn op aan is er maar om hem dan zou wat mijn worden"
    # Polish, Swedish, Turkish
    " nie się na jest że och att som är inte på av för med ett den ve bir bu için ile çok daha".split()
)


def is_of_other_language(word: str, known: KnownWords) -> bool:
    """Whether `word` is a small word of another language and not a known one."""
    return word.lower() in _SMALL_WORDS and word not in known and word.lower() not in known


LANGUAGE_SHIFT = Cause("language-shift", "the small words of another language", is_of_other_language)
