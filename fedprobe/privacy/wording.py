"""Figures of a guarantee as a person reads them: epsilon, what it means, and who takes part."""

import math

from fedprobe.privacy.events import EVERY_USER, SampledGaussian

# Above this, the bound alone is no meaningful protection: odds may change by a factor of e^10 = 22,000.
MEANINGFUL_EPSILON = 10.0


def figure(value: float) -> str:
    """An epsilon as a person reads it."""
    if math.isinf(value):
        return "infinite"
    if value >= 1e5:
        return f"{value:.3g}"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def meaning(epsilon: float, delta: float, what: str) -> str:
    """What the bound means for a person; `what` is what is published, with its verb."""
    if math.isinf(epsilon):
        return "Without noise there is no guarantee: what is published may reveal anything about anyone in it."
    chance = _chance(delta)
    if epsilon == 0:
        return f"The odds that a given person took part do not change, but for a chance of {chance}."
    if epsilon > MEANINGFUL_EPSILON:
        return (
            f"Epsilon above {MEANINGFUL_EPSILON:g} is not a meaningful protection by itself: the bound allows "
            f"the odds that a given person took part to change by a factor of {_factor(epsilon)} "
            f"(but for a chance of {chance})."
        )
    return (
        f"An observer of everything {what} can raise the odds that a given person took part by a "
        f"factor of at most {_factor(epsilon)}, but for a chance of {chance}."
    )


def meaning_in_short(epsilon: float, delta: float) -> str:
    """What `meaning` says, in two lines at most; that an epsilon is no protection is said as there."""
    if math.isinf(epsilon):
        return meaning(epsilon, delta, "it publishes")
    if epsilon > MEANINGFUL_EPSILON:
        return (
            f"Epsilon above {MEANINGFUL_EPSILON:g} is not a meaningful protection by itself: towards whoever receives "
            f"the run, the odds that a person took part may change {_factor(epsilon)}-fold, but for a chance of "
            f"{_chance(delta)}."
        )
    factor = "1" if epsilon == 0 else _factor(epsilon)
    return (
        f"Towards whoever receives the run, the odds that a person took part rise at most {factor}-fold, but for a "
        f"chance of {_chance(delta)}."
    )


def takes_part(participation: str, event: SampledGaussian, users_per_round: int | None) -> str:
    """Who takes part in a round, and as what that is counted."""
    if participation == "fixed":
        users = "a fixed number of" if users_per_round is None else f"exactly {users_per_round}"
        return (
            f"{users} users take part in a round; as a user who comes displaces another, that is accounted as "
            f"probability {event.sampling_probability:.3g} with noise multiplier {event.noise_multiplier:g}, "
            "half of what it is"
        )
    if participation == "none":
        return "who takes part in a round is not counted on being secret: each round costs every user in full"
    if participation == EVERY_USER:
        return "every user of the cohort takes part, once"
    return f"each user takes part in a round with probability {event.sampling_probability:.3g}"


def threshold_share(threshold_delta: float) -> str:
    """What thresholds take of delta, where they take some."""
    if threshold_delta == 0:
        return ""
    return f"; {threshold_delta:.3g} of delta is the chance, at most, that a word is shown that one user alone has"


def rounds_of_kind(participation: str) -> str:
    """The participation in a word or two, for the line of the figure."""
    return {
        "poisson": "Poisson",
        "fixed": "rounds of a fixed size",
        "none": "no amplification",
        EVERY_USER: "every user once",
        "mixed": "participation of each run's own",
    }[participation]


def ledger_line(ledger: dict) -> str:
    """What a ledger's totals say; `before`, where it is there, is what had been spent before this plan."""
    limit = ", no budget set" if ledger.get("budget") is None else ""
    return f"{ledger_total(ledger)}{limit}, {ledger['rule']}"


def ledger_total(ledger: dict) -> str:
    """What is spent of what, without the rule that it is counted by."""
    spent, before, budget = (ledger.get(name) for name in ("spent", "before", "budget"))
    so_far = _spent(spent) if before is None else f"{_spent(before)} -> {_spent(spent)}"
    limit = "spent" if budget is None else f"of {figure(budget['epsilon'])}"
    return f"ledger {so_far} {limit}"


def _spent(total: dict) -> str:
    # JSON has no infinity: a total without a number is one.
    return figure(math.inf if total["epsilon"] is None else total["epsilon"]) if total["epsilon"] != 0 else "0.00"


def _factor(value: float) -> str:
    """e to an epsilon, rounded up: it stands behind "at most"."""
    if value > 20:
        digits = 0 if value >= 1000 else 2
        return f"e^{_up(value, digits):,.{digits}f}"
    factor = math.exp(value)
    digits = 2 if factor < 10 else 1 if factor < 100 else 0
    return f"{_up(factor, digits):,.{digits}f}"


def _chance(delta: float) -> str:
    """4e-8 as "4 in 100 million", rounded up to three digits."""
    exponent = -math.floor(math.log10(delta) + 1e-9)
    for digits, word in ((12, " trillion"), (9, " billion"), (6, " million"), (3, ",000")):
        if digits <= exponent < digits + 3:
            return f"{_up(delta * 10**exponent, 2):.3g} in {10 ** (exponent - digits)}{word}"
    return f"{delta:.2g}"


def _up(value: float, digits: int) -> float:
    """`value` rounded up after so many digits, but for what floating point adds to one that has no more."""
    return math.ceil(value * 10**digits * (1 - 1e-12)) / 10**digits
