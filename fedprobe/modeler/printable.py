"""Text that a person may see in a terminal: what could command it is shown and not obeyed."""


def one_line(text: str) -> str:
    """`text` with what a terminal would not show, line breaks too, as escapes."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def visible(word: str) -> str:
    """`word` for a table: blanks marked, so that joined tokens show."""
    return one_line(word).replace(" ", "␣")
