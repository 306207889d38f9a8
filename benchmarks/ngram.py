"""A baseline to beat: an n-gram model with interpolated Kneser-Ney smoothing over sequences of symbols.

Source: Kneser and Ney 1995 in the interpolated form of Chen and Goodman 1999, one discount an order, estimated as
n1 / (n1 + 2 n2) from the counts of counts.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

BEGIN = -1


class KneserNey:
    """An n-gram model of order `order` over ids below `symbols`; sequences end with an id of their own."""

    def __init__(self, sequences: Iterable[Sequence[int]], order: int, symbols: int) -> None:
        self.order, self.symbols = order, symbols
        highest: Counter[tuple[int, ...]] = Counter()
        for sequence in sequences:
            padded = (BEGIN,) * (order - 1) + tuple(sequence)
            highest.update(padded[i : i + order] for i in range(len(sequence)))
        # Of the lower orders, how many different symbols stand before; of the highest, the counts themselves.
        self._counts = [highest]
        for _ in range(order - 1):
            self._counts.append(Counter(gram[1:] for gram in self._counts[-1]))
        self._totals, self._followers, self._discounts = [], [], []
        for counts in self._counts:
            totals: defaultdict[tuple[int, ...], int] = defaultdict(int)
            followers: defaultdict[tuple[int, ...], int] = defaultdict(int)
            for gram, count in counts.items():
                totals[gram[:-1]] += count
                followers[gram[:-1]] += 1
            once, twice = (sum(count == number for count in counts.values()) for number in (1, 2))
            self._totals.append(totals)
            self._followers.append(followers)
            self._discounts.append(once / (once + 2 * twice) if once else 0.5)

    def probability(self, context: tuple[int, ...], symbol: int) -> float:
        """P(symbol | the last order - 1 ids)."""
        probability = 1 / self.symbols
        for level in range(self.order - 1, -1, -1):
            history = context[len(context) - (self.order - 1 - level) :]
            total = self._totals[level].get(history, 0)
            if total:
                discount = self._discounts[level]
                kept = max(self._counts[level].get((*history, symbol), 0) - discount, 0.0)
                probability = (kept + discount * self._followers[level][history] * probability) / total
        return probability

    def perplexity(self, sequences: Iterable[Sequence[int]]) -> float:
        """exp of the mean negative log-likelihood a symbol, ends included."""
        total, number = 0.0, 0
        for sequence in sequences:
            context = (BEGIN,) * (self.order - 1)
            for symbol in sequence:
                total -= math.log(self.probability(context, symbol))
                context = (*context, symbol)[1:] if self.order > 1 else ()
                number += 1
        return math.exp(total / number)
