"""How often one release of heavy hitters shows the bug of joined tokens, by epsilon and share of struck sentences.

    python -m benchmarks.heavy_hitters SHARDS.h5 --shares 0 0.01 0.1 --epsilons 0.25 0.5 1 2 4 --seeds 10

The vocabulary is counted on the healthy shards, and every user's words outside it are her examples, as `data
vocabulary`, `data corrupt` and `train-charlm --method one-round` do it. A seed decides which sentences are struck (as
`data corrupt --seed` does) and the order in which users name words (`--seed` of the training); noise is the operating
system's. One line a share and epsilon: in how many seeds a joined word leads the list, and in how many one is
released; how many joined and other words are, on average. Every figure is made of releases by the mechanism itself, at
`--delta` for the plan.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.data.text_bugs import SENTENCE_BUGS
from fedprobe.clients.heavy_hitters import NamedWords
from fedprobe.clients.selection import Members
from fedprobe.clients.text import TextFormat
from fedprobe.models.vocabulary import Vocabulary, fault_of
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.partition_selection import ReleasedWords
from fedprobe.privacy.planning import solve
from fedprobe.privacy.randomness import key
from fedprobe.server.heavy_hitter_training import WORDS_PER_USER, HeavyHitterTraining
from fedprobe.server.participation import EveryUser

BUG = "join-first-tokens"


@dataclass(frozen=True)
class Struck:
    """Users' sentences with a bug in a share of them, in memory."""

    users: list[str]
    healthy: list[list[list[str]]]
    share: float
    seed: int
    bug: str = BUG

    def sentences(self, user: int) -> list[list[str]]:
        """The sentences of one user, as `FederatedDataset.sentences` gives them."""
        threshold = int(self.share * 2**63)
        return [
            SENTENCE_BUGS[self.bug](tokens)
            if len(tokens) > 1 and key(self.seed, self.bug, self.users[user], row) < threshold
            else tokens
            for row, tokens in enumerate(self.healthy[user])
        ]


def training_at(target: float, delta: float, words_per_user: int) -> HeavyHitterTraining:
    """The release that keeps to epsilon `target` at `delta`, all told."""
    training = HeavyHitterTraining(words_per_user=words_per_user).at_delta(delta)
    planned = solve(
        "noise-multiplier",
        target_epsilon=target,
        users_per_round=1,
        population=1,
        rounds=1,
        delta=delta - training.threshold_delta,
        participation="every-user",
    )
    return HeavyHitterTraining(planned.noise_multiplier, words_per_user, training.threshold_delta)


def cost(training: HeavyHitterTraining, delta: float) -> float:
    """Its epsilon, asked for anew."""
    event = EveryUser().event(training.noise_multiplier, 1)
    return epsilon([replace(event, threshold_delta=training.threshold_delta)], delta).value


def counted(healthy: Sequence[Sequence[Sequence[str]]], size: int) -> Vocabulary:
    """The `size` most frequent words of these users' sentences, as `data vocabulary` counts them."""
    counter = Counter(token for sentences in healthy for tokens in sentences for token in tokens)
    ranked = sorted((-count, word) for word, count in counter.items() if fault_of(word) is None)
    return Vocabulary(tuple(word for _, word in ranked[:size]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--column", default=TextFormat().column)
    parser.add_argument("--vocabulary-size", type=int, default=10_000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.01, 0.1], help="of sentences with the bug")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.25, 0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--words-per-user", type=int, nargs="+", default=[WORDS_PER_USER])
    parser.add_argument("--delta", type=float, default=1e-6)
    parser.add_argument("--seeds", type=int, default=10, help="how many, from --first-seed")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print the first words of every release, too")
    arguments = parser.parse_args()

    dataset = open_dataset(arguments.shards, text=TextFormat(arguments.column))
    dataset.require_text()
    healthy = [dataset.sentences(user) for user in range(len(dataset))]
    vocabulary = counted(healthy, arguments.vocabulary_size)
    everyone = Members(np.arange(len(dataset)), outside=vocabulary)
    plans = {
        (k, target): training_at(target, arguments.delta, k)
        for k in arguments.words_per_user
        for target in arguments.epsilons
    }
    print(f"{len(dataset)} users, vocabulary {len(vocabulary)}, delta {arguments.delta:g}, {arguments.seeds} seeds\n")
    print("| sentences | words a user | epsilon | noise | threshold | joined word leads | is there | joined | other |")
    print("|---|---|---|---|---|---|---|---|---|")
    for share in arguments.shares:
        results: dict[tuple[int, float], list[tuple[bool, int, int]]] = {plan: [] for plan in plans}
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            struck = Struck(dataset.users, healthy, share, seed)
            for k in arguments.words_per_user:
                # The sum does not depend on the noise.
                named = NamedWords(struck, everyone, plans[k, arguments.epsilons[0]].mechanism, seed)
                total = named({}, range(len(everyone)), 1)
                for target in arguments.epsilons:
                    words = ReleasedWords.from_bytes(plans[k, target].mechanism.release(total)).words
                    joined = [" " in word for word in words]
                    results[k, target].append((joined[:1] == [True], sum(joined), len(joined) - sum(joined)))
                    if arguments.show:
                        print(f"    {share:g} {k} {target:g} seed {seed}: {', '.join(words[:8])}")
        for (k, target), found in results.items():
            leads, joined, other = zip(*found, strict=True)
            mechanism, n = plans[k, target].mechanism, len(found)
            charged = cost(plans[k, target], arguments.delta)
            print(
                f"| {share:.1%} | {k} | {charged:.2f} | {mechanism.noise_multiplier:.4g} "
                f"| {mechanism.threshold:.1f} | {sum(leads)} of {n} | {sum(map(bool, joined))} of {n} "
                f"| {np.mean(joined):.1f} | {np.mean(other):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
