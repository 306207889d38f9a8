"""Text that a person may see in a terminal: what could command it is shown and not obeyed."""

from collections.abc import Sequence
from string import ascii_uppercase


def one_line(text: str) -> str:
    """`text` with what a terminal would not show, line breaks too, as escapes."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def visible(word: str) -> str:
    """`word` for a table: blanks marked, so that joined tokens show."""
    return one_line(word).replace(" ", "␣")


def headings(names: Sequence[str], room: int) -> list[str]:
    """What to write over columns of `room` cells: all names as they are where each fits, else A, B, and so on."""
    shown = [one_line(name) for name in names]
    return shown if all(len(name) <= room for name in shown) else letters(len(names))


def letters(count: int) -> list[str]:
    """A, B, ...; numbers where there are more than letters."""
    return list(ascii_uppercase[:count]) if count <= len(ascii_uppercase) else [str(n + 1) for n in range(count)]


def legend(names: Sequence[str], over: Sequence[str]) -> str | None:
    """Which run is meant by each of the headings that stand `over` columns; None where they are the names."""
    shown = [one_line(name) for name in names]
    return None if list(over) == shown else ", ".join(f"{one} {name}" for one, name in zip(over, shown, strict=True))
