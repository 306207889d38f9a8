"""What can go wrong with text on a device: each rehearsed bug as a function of one sentence's tokens."""


def join_first_tokens(tokens: list[str]) -> list[str]:
    """Make one token, with a space in it, of the first two (paper, Section 5)."""
    return [" ".join(tokens[:2]), *tokens[2:]]


SENTENCE_BUGS = {"join-first-tokens": join_first_tokens}
