"""From events to epsilon, by four accountants that agree on what they are asked.

Every function is pure: a query changes nothing. Adjacency is add-or-remove one user throughout, except for
`paper`, which reproduces the arithmetic of Augenstein et al. 2020 and says so.
"""

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, logsumexp

from fedprobe.errors import instead_of
from fedprobe.privacy.events import SampledGaussian

ACCOUNTANTS = ("auto", "pld", "rdp", "prv", "paper")

# Below this noise multiplier, or above these epsilons, the range of a discretised privacy loss distribution grows
# beyond reasonable time (measured: 44 s at z = 0.1, none at 0.01) and memory. `auto` turns to RDP long before.
_PLD_LEAST_NOISE = 0.3
_AUTO_PLD_LARGEST_EPSILON = 50.0
_PLD_LARGEST_EPSILON = 500.0
_PLD_INTERVAL = 1e-4
_COARSE_INTERVAL = 1e-3
_PRV_ERROR = 2e-3
_PRV_MOST_POINTS = 2**24
_PAPER_ORDERS = range(2, 257)
# Below this noise multiplier sampling amplifies nothing, and the series of sampled RDP overflow.
_RDP_LEAST_SAMPLED_NOISE = 1e-3
# Below it, 1 / z^2 overflows.
_LEAST_NOISE = 1e-100
# Beyond these, formulas overflow or cancel; less noise and more sampling than there is bound what there is.
_MOST_NOISE = 1e6
_LEAST_PROBABILITY = 1e-12


class CannotAccount(ValueError):
    """The accountant that was asked for cannot do this case; the message names one that can, if one can."""


@dataclass(frozen=True)
class Epsilon:
    """An upper bound on epsilon, and the accountant (never `auto`) that proved it."""

    value: float
    accountant: str


def epsilon(
    events: Sequence[SampledGaussian], delta: float, accountant: str = "auto", *, coarse: bool = False
) -> Epsilon:
    """Bound the epsilon at `delta` of all `events` composed (add or remove one user).

    `auto` takes `pld`; where some noise multiplier is below 0.3, the `rdp` bound is above 50, or delta is smaller
    than what `pld` leaves out of its tails, it takes `rdp`. The result is infinite only where some event has no
    noise. `coarse` discretises `pld` ten times as coarsely, for searches: a bound still, and sooner had.

    What the events' thresholds take, t = sum of rounds x `threshold_delta`, is taken off delta before the Gaussians are
    accounted for. Proof: let D' be D and one user more, and M a release with a threshold. M(D) is G(D), the Gaussian
    mechanism on the domain of D, post-processed. M(D') is a mixture: with probability 1 - p it is G(D') on that same
    domain, and with a probability p of at most `threshold_delta`, decided by noise on what she alone has, anything. As
    the hockey-stick divergence is jointly convex and at most 1, with G(D) = (1 - p) G(D) + p G(D) it is at most
    (1 - p) H(G(D') || G(D)) + p in one direction, and the same with both exchanged in the other. Of composed releases,
    chosen adaptively or not, each can be taken for such a mixture at exactly its own `threshold_delta`, and all are
    Gaussian at once but for a probability of at most t; the transcript is a mixture in the same way.

    Raises ValueError for a delta outside (0, 1) or an unknown accountant; CannotAccount, a ValueError, for a
    case that the accountant cannot do, or a delta that thresholds use up.
    Sources: `pld` Koskela et al. 2020 and Doroshenko et al. 2022 (dp_accounting); `rdp` Mironov et al. 2019 with
    the conversion of Canonne et al. 2020 (dp_accounting); `prv` Gopi et al. 2021 (opacus); `paper` see `_paper`.
    """
    return _epsilon(tuple(events), delta, accountant, coarse)


# A command asks for the same figure several times: to plan, to charge and to say it.
@lru_cache(maxsize=1024)
def _epsilon(events: tuple[SampledGaussian, ...], delta: float, accountant: str, coarse: bool) -> Epsilon:
    if not 0 < delta < 1:
        raise ValueError("delta must lie between 0 and 1")
    if accountant not in ACCOUNTANTS:
        raise ValueError(f"unknown accountant; {instead_of(accountant, ACCOUNTANTS)}")
    spent = tuple(event for event in events if event.rounds > 0)
    name = _choose(spent, delta) if accountant == "auto" else accountant
    if not spent:
        return Epsilon(0.0, name)
    if any(event.noise_multiplier == 0 for event in spent):
        return Epsilon(math.inf, name)
    if any(event.noise_multiplier < _LEAST_NOISE for event in spent):
        raise CannotAccount(
            f"no accountant can do noise multipliers between 0 and {_LEAST_NOISE:g}; give more noise, or 0 for none"
        )
    taken = math.fsum(event.rounds * event.threshold_delta for event in spent)
    if taken >= delta:
        raise CannotAccount(
            f"the thresholds of released words take delta {taken:.3g}, which leaves nothing of {delta:.3g} for the "
            "noise; give a larger delta"
        )
    delta -= taken
    spent = tuple(_within_reach(event) for event in spent)
    try:
        value = _pld(spent, delta, _COARSE_INTERVAL) if coarse and name == "pld" else _BY_NAME[name](spent, delta)
    except CannotAccount:
        if accountant != "auto":
            raise
        name = "rdp"
        value = _rdp(spent, delta)
    if not math.isfinite(value):
        raise CannotAccount(f"the {name} accountant found no finite bound for this plan; give more noise")
    return Epsilon(max(0.0, float(value)), name)


def epsilon_after(
    event: SampledGaussian, rounds: Sequence[int], delta: float, accountant: str = "auto"
) -> list[Epsilon]:
    """The epsilon of `event` after each of these numbers of rounds, all by one accountant: points of a picture.

    `auto` chooses for the most rounds. Under `pld` a noise multiplier below 1 is discretised ten times as coarsely as
    by `epsilon`, to be quick; the points stay upper bounds. Raises as `epsilon` does.
    """
    events = [replace(event, rounds=count) for count in rounds]
    most = max(events, key=lambda one: one.rounds)
    bound = epsilon([most], delta, accountant, coarse=True)
    if bound.accountant != "pld" or not math.isfinite(bound.value) or event.sampling_probability == 1:
        return [epsilon([one], delta, bound.accountant) for one in events]
    from dp_accounting.pld import privacy_loss_distribution

    reach = _within_reach(event)
    one_round = privacy_loss_distribution.from_gaussian_mechanism(
        reach.noise_multiplier,
        value_discretization_interval=_PLD_INTERVAL if reach.noise_multiplier >= 1 else _COARSE_INTERVAL,
        sampling_prob=reach.sampling_probability,
    )
    values = [
        one_round.self_compose(one.rounds).get_epsilon_for_delta(delta - one.rounds * one.threshold_delta)
        if one.rounds
        else 0.0
        for one in events
    ]
    return [Epsilon(max(0.0, float(value)), "pld") for value in values]


def _choose(events: tuple[SampledGaussian, ...], delta: float) -> str:
    if any(event.noise_multiplier < _PLD_LEAST_NOISE for event in events):
        return "rdp"
    if events and _rdp(tuple(_within_reach(event) for event in events), delta) > _AUTO_PLD_LARGEST_EPSILON:
        return "rdp"
    return "pld"


def _within_reach(event: SampledGaussian) -> SampledGaussian:
    """An event that costs at least as much as `event`, with numbers that the accountants' formulas stand."""
    return replace(
        event,
        noise_multiplier=min(event.noise_multiplier, _MOST_NOISE),
        sampling_probability=max(event.sampling_probability, _LEAST_PROBABILITY),
    )


def _pld(events: tuple[SampledGaussian, ...], delta: float, interval: float = _PLD_INTERVAL) -> float:
    if any(event.noise_multiplier < _PLD_LEAST_NOISE for event in events):
        raise CannotAccount(
            f"the pld accountant cannot do noise multipliers below {_PLD_LEAST_NOISE} in reasonable time; "
            "use --accountant rdp"
        )
    if _rdp(events, delta) > _PLD_LARGEST_EPSILON:
        raise CannotAccount(
            f"the pld accountant cannot do epsilons above {_PLD_LARGEST_EPSILON:g} in reasonable time; "
            "use --accountant rdp"
        )
    from dp_accounting import pld

    accountant = pld.PLDAccountant(value_discretization_interval=interval)
    for event in events:
        accountant.compose(event.dp_event())
    value = accountant.get_epsilon(delta)
    if not math.isfinite(value):
        raise CannotAccount("the pld accountant cannot do so small a delta; use --accountant rdp")
    return value


# Asked for first, to choose, by what is chosen, and in searches.
@lru_cache(maxsize=1024)
def _rdp(events: tuple[SampledGaussian, ...], delta: float) -> float:
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant()
    # The library warns through absl when it leaves an order out, or the best one is at the end; leaving orders
    # out of a minimum keeps it an upper bound.
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)
    try:
        for event in events:
            if event.noise_multiplier < _RDP_LEAST_SAMPLED_NOISE:
                event = replace(event, sampling_probability=1.0)
            accountant.compose(event.dp_event())
        return accountant.get_epsilon(delta)
    finally:
        absl.setLevel(level)


def _prv(events: tuple[SampledGaussian, ...], delta: float) -> float:
    if any(event.noise_multiplier < _PLD_LEAST_NOISE for event in events):
        raise CannotAccount(
            f"the prv accountant cannot do noise multipliers below {_PLD_LEAST_NOISE}; use --accountant rdp"
        )
    # The library's own mesh and range: Gopi et al. 2021, Remark 5.6.
    rounds = sum(event.rounds for event in events)
    width = 2 * (_rdp(events, delta / 4000) + 3)
    if width * math.sqrt(rounds * math.log(12_000 / delta) / 2) / _PRV_ERROR > _PRV_MOST_POINTS:
        raise CannotAccount("the prv accountant cannot do so many rounds in reasonable memory; use --accountant auto")
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(event.noise_multiplier, event.sampling_probability, event.rounds) for event in events]
    try:
        # It warns where the Renyi DP bound that its range comes from is loose: then the range is only larger. Without
        # sampling it takes the logarithm of 0, which is -inf, as it should be.
        with warnings.catch_warnings(), np.errstate(divide="ignore"):
            warnings.simplefilter("ignore", UserWarning)
            value = accountant.get_epsilon(delta, eps_error=_PRV_ERROR)
    except (ValueError, RuntimeError) as error:
        # Opacus refuses deltas near its floating-point errors, and domains that it cannot align.
        raise CannotAccount("the prv accountant cannot do this plan at this delta; use --accountant auto") from error
    if not math.isfinite(value):
        raise CannotAccount("the prv accountant found no finite bound; use --accountant auto")
    return value


def _paper(events: tuple[SampledGaussian, ...], delta: float) -> float:
    """The arithmetic behind every epsilon that Augenstein et al. 2020 print; for comparison only.

    Rounds of exactly qN users drawn without replacement: Wang, Balle, Kasiviswanathan 2018, Theorem 9, integer
    orders from 2, with the Gaussian's RDP alpha / (2 z^2), that is sensitivity S; T-fold; converted by Mironov
    2017, Proposition 3. Fixed-size rounds do not earn this figure: a user who comes displaces another, and the
    sum moves by up to 2 S. It says nothing about Poisson rounds either.
    """
    orders = np.array(_PAPER_ORDERS)
    total = sum(event.rounds * np.array([_wang_theorem_9(event, order) for order in orders]) for event in events)
    return float(np.min(total + math.log(1 / delta) / (orders - 1)))


def _wang_theorem_9(event: SampledGaussian, order: int) -> float:
    """RDP of order `order` of one round on q N users drawn without replacement (in logarithms throughout)."""
    if event.sampling_probability == 1:
        return order / (2 * event.noise_multiplier**2)
    log_q = math.log(event.sampling_probability)
    gaussian = np.arange(order + 1) / (2 * event.noise_multiplier**2)
    j = np.arange(2, order + 1)
    log_binomial = gammaln(order + 1) - gammaln(j + 1) - gammaln(order - j + 1)
    terms = j * log_q + log_binomial + (j - 1) * gaussian[2:] + math.log(2)
    # j = 2: min(4 (e^eps(2) - 1), 2 e^eps(2)), the second of which stands in `terms` already.
    log_expm1 = gaussian[2] + math.log1p(-math.exp(-gaussian[2]))
    terms[0] = min(terms[0], 2 * log_q + log_binomial[0] + math.log(4) + log_expm1)
    return min(float(logsumexp(np.append(terms, 0.0))) / (order - 1), float(gaussian[order]))


_BY_NAME: dict[str, Callable[[tuple[SampledGaussian, ...], float], float]] = {
    "pld": _pld,
    "rdp": _rdp,
    "prv": _prv,
    "paper": _paper,
}
