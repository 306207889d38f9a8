"""From a column of text to sentences of tokens: where tokenisation bugs live."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedprobe.errors import instead_of

# Words (apostrophes and hyphens inside them belong to them), and every other sign by itself.
_WORDS = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")

TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "whitespace": str.split,
    "words": lambda text: _WORDS.findall(text.lower()),
}


@dataclass(frozen=True)
class TextFormat:
    """Which column of a text shard is read, and how its rows become tokens.

    `whitespace` splits at blanks, as the data set's own tokens are written; `words` lower-cases and sets punctuation
    apart. Raises ValueError for an unknown tokenizer.
    """

    column: str = "tokens"
    tokenizer: str = "whitespace"

    def __post_init__(self) -> None:
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(f"unknown tokenizer; {instead_of(self.tokenizer, TOKENIZERS)}")

    @property
    def separator_attribute(self) -> str:
        """The attribute of `examples` that says what separates the column's tokens, where blanks stand inside them."""
        return f"{self.column}_separator"

    def sentences(self, rows: Sequence[bytes], separator: str | None = None) -> list[list[str]]:
        """The tokens of every row that has any. Rows with a `separator` are tokens already.

        Raises UnicodeDecodeError for text that is not UTF-8.
        """
        split = TOKENIZERS[self.tokenizer] if separator is None else lambda text: text.split(separator)
        sentences = (list(filter(None, split(row.decode()))) for row in rows)
        return [sentence for sentence in sentences if sentence]
