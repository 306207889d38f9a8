"""Held-out perplexity of the federated language models against n-gram models with Kneser-Ney smoothing.

    python -m benchmarks.perplexity words shards.h5 --vocabulary vocabulary.txt
    python -m benchmarks.perplexity sentences shards.h5 --vocabulary vocabulary.txt

One user of twenty is held out. The language model is trained on the others with a preset of train-charlm (on their
words out of vocabulary) or train-wordlm, without noise unless asked for; a 5-gram model of bytes or a trigram model
of words is counted on the same users. Both predict the same symbols, ends included.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.ngram import KneserNey
from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.language_update import LanguageModelUpdate
from fedprobe.clients.selection import Members
from fedprobe.modeler.text_sampling import log_probabilities, model_of
from fedprobe.models.vocabulary import Bytes, Vocabulary, read_vocabulary
from fedprobe.privacy.mechanism import Mechanism
from fedprobe.privacy.randomness import key
from fedprobe.server.engines.local import local_engine
from fedprobe.server.language_presets import CHAR_PRESETS, WORD_PRESETS
from fedprobe.server.participation import PoissonParticipation

HELD_OUT = 0.05
ORDERS = {"words": 5, "sentences": 3}


def perplexity(model, codec: Bytes | Vocabulary, sequences: Sequence[Sequence[int]]) -> float:
    """exp of the mean negative log-likelihood a symbol, ends included."""
    total = log_probabilities(model, codec, sequences).sum()
    return math.exp(-total / sum(map(len, sequences)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted(ORDERS))
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--noise-multiplier", type=float, default=0.0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other hyperparameters")
    parser.add_argument("--every", type=int, default=100, help="rounds between figures")
    arguments = parser.parse_args()
    vocabulary = read_vocabulary(arguments.vocabulary)
    dataset = open_dataset(arguments.shards)
    held_out = np.array([key(0, "held out", user) < HELD_OUT * 2**63 for user in dataset.users])
    words = arguments.kind == "words"
    codec = Bytes() if words else vocabulary
    training = (CHAR_PRESETS if words else WORD_PRESETS)[arguments.preset]
    training = replace(
        training, rounds=arguments.rounds or training.rounds, noise_multiplier=arguments.noise_multiplier
    )
    changed = dict(setting.split("=") for setting in arguments.set)
    training = replace(training, **{name: type(getattr(training, name))(value) for name, value in changed.items()})
    config, mechanism = training.networks(codec.symbols), Mechanism(training.clip_norm, training.noise_multiplier)

    def update_of(users: np.ndarray) -> LanguageModelUpdate:
        members = Members(np.flatnonzero(users), outside=vocabulary if words else None)
        return LanguageModelUpdate(
            dataset,
            members,
            codec,
            config,
            mechanism,
            training.local_batch_size,
            training.local_epochs,
            training.sequences_per_user,
            training.symbols_per_user,
            training.sequence_length,
            training.client_learning_rate,
            0,
            distinct=training.distinct,
            precision=arguments.precision,
        )

    def sequences_of(update: LanguageModelUpdate) -> list[list[int]]:
        """All of the users' sequences, repetitions and all, cut and ended as in training."""
        length, every = training.sequence_length, replace(update, distinct=False)
        whole = (sequence for member in range(len(update.members)) for sequence in every.sequences(member))
        return [one[:length] if len(one) > length else [*one, codec.end] for one in whole]

    update = update_of(~held_out)
    trained, judged = sequences_of(update), sequences_of(update_of(held_out))
    possible = codec.symbols - len(codec.impossible)
    baseline = KneserNey(trained, ORDERS[arguments.kind], possible).perplexity(judged)
    result = {
        "kind": arguments.kind,
        "order": ORDERS[arguments.kind],
        "kneser_ney": baseline,
        "held_out_users": int(held_out.sum()),
    }
    print(json.dumps(result), flush=True)
    algorithm = training.algorithm(config, 0, "cpu")
    participation = PoissonParticipation(training.users_per_round, len(update.members))
    state, seconds = algorithm.init(), 0.0
    with local_engine(update, arguments.workers) as engine:
        for round in range(1, training.rounds + 1):
            started = time.perf_counter()
            total = engine.sum(algorithm.broadcast(state, round), participation.draw(len(update.members)), round)
            mean = mechanism.release(total) / training.users_per_round
            state, _ = algorithm.apply(state, torch.from_numpy(mean), round)
            seconds += time.perf_counter() - started
            if round % arguments.every == 0 or round == training.rounds:
                model = model_of(config, state.average)
                # As large a share of what it was trained on tells too much training from too little.
                result = {
                    "round": round,
                    "seconds": float(f"{seconds:.1f}"),
                    "perplexity": perplexity(model, codec, judged),
                    "train_perplexity": perplexity(model, codec, trained[:: int(1 / HELD_OUT)]),
                }
                print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
