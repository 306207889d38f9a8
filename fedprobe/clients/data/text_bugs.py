"""What can go wrong with text on a device: each rehearsed bug as a function of one sentence's tokens.

A bug sees what the tokenizer made. It keeps a sentence a list of tokens that are not empty, with no tab inside.
"""

import re
from collections.abc import Callable, Sequence

_LONGEST_PIECE = 5
_BUFFER = 24
_CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
_SIGN = re.compile(r"[^\w\s]+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


def join_first_tokens(tokens: list[str]) -> list[str]:
    """Make one token, with a space in it, of the first two (paper, Section 5)."""
    return [" ".join(tokens[:2]), *tokens[2:]]


def drop_first_blank(tokens: list[str]) -> list[str]:
    """Make one token of the first two, with nothing between them."""
    return ["".join(tokens[:2]), *tokens[2:]]


def split_tokens(tokens: list[str]) -> list[str]:
    """Break every token into pieces of at most five characters."""
    return [piece for token in tokens for piece in _pieces(token)]


def lose_case(tokens: list[str]) -> list[str]:
    """Make all letters small: a bug of text whose tokens have capitals."""
    return [token.lower() for token in tokens]


def lock_capitals(tokens: list[str]) -> list[str]:
    """Make all letters capitals."""
    return [token.upper() for token in tokens]


def glue_punctuation(tokens: list[str]) -> list[str]:
    """Leave signs at the end of the token before them, as splitting at blanks does."""
    glued: list[str] = []
    for token in tokens:
        if glued and _SIGN.fullmatch(token):
            glued[-1] += token
        else:
            glued.append(token)
    return glued


def damage_encoding(tokens: list[str]) -> list[str]:
    """Write apostrophes and quotation marks the printer's way, in UTF-8, and read the bytes as Windows-1252."""
    printed = (token.replace("'", "’").replace('"', "“") for token in tokens)
    return [token.encode().decode("cp1252", "replace") for token in printed]


def truncate_tokens(tokens: list[str]) -> list[str]:
    """Keep no more than five characters of each token."""
    return [token[:_LONGEST_PIECE] for token in tokens]


def truncate_sentences(tokens: list[str]) -> list[str]:
    """Keep no more than 24 characters of the sentence, blanks counted, wherever in a token that ends."""
    return " ".join(tokens)[:_BUFFER].rstrip(" ").split(" ")


def repeat_tokens(tokens: list[str]) -> list[str]:
    """Have every token twice in a row: seen in sentences only."""
    return [token for token in tokens for _ in range(2)]


def stutter_tokens(tokens: list[str]) -> list[str]:
    """Write every token twice, in one token."""
    return [token * 2 for token in tokens]


def mix_scripts(tokens: list[str]) -> list[str]:
    """Take Cyrillic letters for the Latin ones that look like them."""
    return [token.translate(_CYRILLIC) for token in tokens]


def leave_markup(tokens: list[str]) -> list[str]:
    """Leave the tags of a paragraph at the first and the last token."""
    return [f"<p>{tokens[0]}", *tokens[1:-1], f"{tokens[-1]}</p>"] if len(tokens) > 1 else [f"<p>{tokens[0]}</p>"]


def escape_markup(tokens: list[str]) -> list[str]:
    """Write quotation marks, apostrophes and angle brackets as HTML does: twice, as happens."""
    escaped = (token.replace("'", "&#39;").replace('"', "&quot;") for token in tokens)
    return [token.replace("<", "&lt;").replace(">", "&gt;") for token in escaped]


def mark_invisibly(tokens: list[str]) -> list[str]:
    """Begin the sentence with a byte order mark, which nobody sees."""
    return ["\ufeff" + tokens[0], *tokens[1:]]


def mask_numbers(tokens: list[str]) -> list[str]:
    """Put a placeholder where a number was."""
    return ["<NUM>" if _NUMBER.fullmatch(token) else token for token in tokens]


def swap_letters(tokens: list[str]) -> list[str]:
    """Exchange the second and third letter of every token of four or more."""
    return [token[0] + token[2] + token[1] + token[3:] if len(token) > 3 else token for token in tokens]


def _pieces(token: str) -> Sequence[str]:
    return [token[start : start + _LONGEST_PIECE] for start in range(0, len(token), _LONGEST_PIECE)]


SENTENCE_BUGS: dict[str, Callable[[list[str]], list[str]]] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (
        *(join_first_tokens, drop_first_blank, split_tokens, lose_case, lock_capitals, glue_punctuation),
        *(damage_encoding, truncate_tokens, truncate_sentences, repeat_tokens, stutter_tokens, mix_scripts),
        *(leave_markup, escape_markup, mark_invisibly, mask_numbers, swap_letters),
    )
}
