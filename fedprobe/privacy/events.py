"""What a training run releases, as data: the event an accountant composes."""

from dataclasses import asdict, dataclass

import dp_accounting

from fedprobe.errors import instead_of

# How a round's users are found: server/participation.py draws them, `rounds_of` says what that releases.
# That of methods with one release: nobody is drawn.
EVERY_USER = "every-user"
PARTICIPATIONS = ("poisson", "fixed", "none", EVERY_USER)
# Above it, sums over rounds are no longer exact in floating point.
_MOST_ROUNDS = 2**53


@dataclass(frozen=True)
class SampledGaussian:
    """`rounds` releases of a Gaussian mechanism on a Poisson sample of users.

    `noise_multiplier` is z, the noise's standard deviation in units of the clip norm; `sampling_probability` is q,
    with which each user takes part in each round. Adjacency: add or remove one user.

    `threshold_delta` is more than 0 for releases of noised sums over an open domain, of which only those above a
    threshold are shown: a bound on the chance, in each release, that something is shown which one user alone has. But
    for that chance it is the Gaussian mechanism on the domain without her; `accountants.epsilon` argues what it costs.
    """

    noise_multiplier: float
    sampling_probability: float
    rounds: int
    threshold_delta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.sampling_probability <= 1:
            raise ValueError("the sampling probability must be above 0 and at most 1")
        if not 0 <= self.noise_multiplier < float("inf"):
            raise ValueError("the noise multiplier must be finite and not negative")
        if not 0 <= self.rounds <= _MOST_ROUNDS:
            raise ValueError(f"the number of rounds must lie between 0 and {_MOST_ROUNDS}")
        if not 0 <= self.threshold_delta < 1:
            raise ValueError("the delta of a threshold must be at least 0 and below 1")

    def to_json(self) -> dict:
        """The event as a JSON object, for a run's `privacy.json`; a threshold is named only where there is one."""
        value = {"event": "poisson-sampled-gaussian", **asdict(self)}
        if not self.threshold_delta:
            del value["threshold_delta"]
        return value

    @classmethod
    def from_json(cls, value: dict) -> "SampledGaussian":
        """The event that `to_json` wrote; ValueError if it is another kind."""
        fields = dict(value)
        if fields.pop("event", None) != "poisson-sampled-gaussian":
            raise ValueError("not an event that this version of fedprobe can account for")
        return cls(**fields)

    def dp_event(self) -> dp_accounting.DpEvent:
        """The same event in dp_accounting's algebra, but for what its threshold takes of delta."""
        round = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        if self.sampling_probability < 1:
            round = dp_accounting.PoissonSampledDpEvent(self.sampling_probability, round)
        return dp_accounting.SelfComposedDpEvent(round, self.rounds)


def rounds_of(
    participation: str, users_per_round: int, population: int, noise_multiplier: float, rounds: int
) -> SampledGaussian:
    """The event of `rounds` rounds with noise of `noise_multiplier` (z) clip norms (S) on the sum of the updates.

    `participation` is one of PARTICIPATIONS. With m = `users_per_round`, N = `population` and q = min(1, m / N):

    - `poisson`: every user independently with probability q. One user more or less leaves the others' draws as they
      are, and moves the sum by at most S: sampling probability q, noise multiplier z.
    - `fixed`: m of as many places as there are members, N at least, each set of m as likely; those without a member
      add nothing. Of two neighbouring memberships let the larger one have M users. Where M <= N, the places are the
      same, and the sum moves by at most S with probability m/N. Where M > N, draw m of the other M - 1; with
      probability m/M <= q a uniform one of these is displaced by the user in question, which gives a uniform draw of m
      of M. Given the first draw and the displaced one, the sum moves by v with |v| <= 2 S, with probability m/M: a
      sampled Gaussian of sensitivity 2 S. The hockey-stick divergence is jointly convex, and grows with |v| and with
      m/M, so that in either direction a round is dominated by sampling probability q and noise multiplier z/2;
      dominating pairs of one direction compose (Zhu, Dong, Wang 2022). With no more than m places everybody takes part,
      nobody is displaced, and q = 1.
    - `none`: independent draws that somebody may see. Given the draws a user who takes part moves the sum by at most
      S, one who does not by nothing: a Gaussian without sampling, noise multiplier z.
    - `every-user`: all of them, in every round. One user more or less moves the sum by at most S: a Gaussian without
      sampling, noise multiplier z; m and N decide nothing.

    Raises ValueError for another participation, or numbers that no rounds can have.
    """
    if participation not in PARTICIPATIONS:
        raise ValueError(f"unknown participation; {instead_of(participation, PARTICIPATIONS)}")
    if users_per_round < 1 or population < 1:
        raise ValueError("users per round and population must be at least 1")
    sampled = participation in ("poisson", "fixed")
    probability = min(1.0, users_per_round / population) if sampled else 1.0
    return SampledGaussian(counted_multiplier(participation, noise_multiplier), probability, rounds)


def counted_multiplier(participation: str, noise_multiplier: float) -> float:
    """The noise in units of what one user can move the sum by: S, but 2 S in rounds of a fixed size."""
    return noise_multiplier / 2 if participation == "fixed" else noise_multiplier
