"""What a training run releases, as data: the event an accountant composes."""

from dataclasses import asdict, dataclass

import dp_accounting


@dataclass(frozen=True)
class SampledGaussian:
    """`rounds` releases of a Gaussian mechanism on a Poisson sample of users.

    `noise_multiplier` is z, the noise's standard deviation in units of the clip norm; `sampling_probability` is q,
    with which each user takes part in each round. Adjacency: add or remove one user.
    """

    noise_multiplier: float
    sampling_probability: float
    rounds: int

    def __post_init__(self) -> None:
        if not 0 < self.sampling_probability <= 1:
            raise ValueError("the sampling probability must be above 0 and at most 1")
        if not 0 <= self.noise_multiplier < float("inf"):
            raise ValueError("the noise multiplier must be finite and not negative")
        if self.rounds < 0:
            raise ValueError("the number of rounds cannot be negative")

    def to_json(self) -> dict:
        """The event as a JSON object, for a run's `privacy.json`."""
        return {"event": "poisson-sampled-gaussian", **asdict(self)}

    @classmethod
    def from_json(cls, value: dict) -> "SampledGaussian":
        """The event that `to_json` wrote; ValueError if it is another kind."""
        fields = dict(value)
        if fields.pop("event", None) != "poisson-sampled-gaussian":
            raise ValueError("not an event that this version of fedprobe can account for")
        return cls(**fields)

    def dp_event(self) -> dp_accounting.DpEvent:
        """The same event in dp_accounting's algebra."""
        gaussian = dp_accounting.GaussianDpEvent(self.noise_multiplier)
        sampled = dp_accounting.PoissonSampledDpEvent(self.sampling_probability, gaussian)
        return dp_accounting.SelfComposedDpEvent(sampled, self.rounds)
