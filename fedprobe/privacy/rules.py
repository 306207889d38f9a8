"""Rules of cohorts: what each user's device needs to decide alone whether it belongs, and nothing else."""

import math
from dataclasses import asdict, dataclass

from fedprobe.errors import instead_of
from fedprobe.privacy.predicates import parse

# The paper's thresholds: the 25th and 75th percentile of user accuracy without the bug (Table 10).
LOW_ACCURACY = 0.882
HIGH_ACCURACY = 0.939
LEAST_EXAMPLES = {"misclassified": 5, "correct": 5, "oov-words": 1, "unlike-public": 1}
# Of unlike-public: the share of public examples that would be selected too.
PUBLIC_SHARE = 0.01

BY_EXAMPLE = tuple(LEAST_EXAMPLES)
CRITERIA = ("random", "low-accuracy", "high-accuracy", *BY_EXAMPLE)


@dataclass(frozen=True)
class CohortRule:
    """A selection criterion with its public thresholds (paper, Table 1: T1 to T4, and T6).

    `random` (T1): every user, or those whose keyed uniform draw is below `share`.
    `low-accuracy`, `high-accuracy` (T4): users whose accuracy under the primary model is strictly `below` or
    strictly `above` a threshold; all their examples are selected.
    `misclassified`, `correct` (T2): of every user, the examples that the primary model gets wrong or right; users
    with fewer than `min_examples` of them are left out.
    `oov-words` (T3): of every user, the tokens outside the vocabulary whose digest is `vocabulary`; users with fewer
    than `min_examples` of them are left out.
    `unlike-public` (T6): of every user, the examples whose log density under the public model whose digest is
    `public` is `at_most` that; users with fewer than `min_examples` of them are left out.
    `where` leaves out, of any of them, users whose public attributes do not match (`predicates`, in one spelling).
    *Assumes:* thresholds, the models and the vocabulary were fixed without looking at these users.
    """

    criterion: str
    below: float | None = None
    above: float | None = None
    min_examples: int | None = None
    share: float | None = None
    seed: int | None = None
    vocabulary: str | None = None
    public: str | None = None
    at_most: float | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise ValueError(f"unknown cohort (a file ends in .json); {instead_of(self.criterion, CRITERIA)}")
        for name, criterion in (("below", "low-accuracy"), ("above", "high-accuracy")):
            threshold = getattr(self, name)
            if (threshold is not None) != (self.criterion == criterion):
                raise ValueError(f"--{name} goes with the cohort {criterion}, and only with it")
            if threshold is not None and not 0 <= threshold <= 1:
                raise ValueError(f"--{name} is an accuracy: between 0 and 1")
        if (self.min_examples is not None) != self.by_example:
            raise ValueError(f"--min-examples goes with the cohorts {', '.join(BY_EXAMPLE)}, and only with them")
        if self.min_examples is not None and self.min_examples < 1:
            raise ValueError("--min-examples must be at least 1")
        if (self.vocabulary is not None) != self.needs_vocabulary:
            raise ValueError("the cohort oov-words needs --vocabulary FILE, and no other cohort takes one")
        for name in ("public", "at_most"):
            if (getattr(self, name) is not None) != self.needs_public:
                raise ValueError("the cohort unlike-public needs --public MODEL, and no other cohort takes one")
        if self.at_most is not None and not math.isfinite(self.at_most):
            raise ValueError("the threshold of unlike-public is a finite log density")
        if self.where is not None:
            # In its one spelling, which shows what would command a terminal as escapes.
            object.__setattr__(self, "where", parse(self.where).text)
        if self.share is not None and self.criterion != "random":
            raise ValueError("--share goes with the cohort random, and only with it")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError("--share must be above 0 and at most 1")

    @property
    def needs_primary(self) -> bool:
        """Whether the rule measures users with the primary model."""
        return self.criterion not in ("random", "oov-words", "unlike-public")

    @property
    def needs_vocabulary(self) -> bool:
        """Whether the rule selects words by a vocabulary."""
        return self.criterion == "oov-words"

    @property
    def needs_public(self) -> bool:
        """Whether the rule selects examples by their density under a public model."""
        return self.criterion == "unlike-public"

    @property
    def by_example(self) -> bool:
        """Whether the rule keeps some of a user's examples (T2, T3, T6) rather than whole users."""
        return self.criterion in BY_EXAMPLE

    def to_json(self) -> dict:
        """The rule as a JSON object without the fields it does not use."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def heading(self) -> str:
        """The rule above a column of figures: its name, and whom it is narrowed to."""
        return self.criterion + self._narrowed

    def says(self) -> str:
        """The rule in one line for a person."""
        return self._says() + self._narrowed

    @property
    def _narrowed(self) -> str:
        return "" if self.where is None else f", where {self.where}"

    def _says(self) -> str:
        match self.criterion:
            case "random" if self.share is not None:
                return f"a random {self.share:g} of the users"
            case "random":
                return "every user"
            case "low-accuracy":
                return f"users whose accuracy under the primary model is below {self.below:g}"
            case "high-accuracy":
                return f"users whose accuracy under the primary model is above {self.above:g}"
            case "oov-words":
                return f"the words outside the vocabulary, of users with at least {self.min_examples} of them"
            case "unlike-public":
                return (
                    f"the examples whose log density under the public model is at most {self.at_most:.4g}, of users "
                    f"with at least {self.min_examples} of them"
                )
        kind = "gets wrong" if self.criterion == "misclassified" else "gets right"
        return f"the examples that the primary model {kind}, of users with at least {self.min_examples} of them"


def rule(
    criterion: str,
    *,
    below: float | None = None,
    above: float | None = None,
    min_examples: int | None = None,
    share: float | None = None,
    seed: int = 0,
    vocabulary: str | None = None,
    public: str | None = None,
    at_most: float | None = None,
    where: str | None = None,
) -> CohortRule:
    """The rule of a named cohort, with the paper's defaults where the criterion has one.

    `vocabulary` and `public` are digests.

    Raises ValueError for an unknown criterion, or a threshold that does not go with it.
    """
    if criterion == "low-accuracy" and below is None:
        below = LOW_ACCURACY
    if criterion == "high-accuracy" and above is None:
        above = HIGH_ACCURACY
    if criterion in BY_EXAMPLE and min_examples is None:
        min_examples = LEAST_EXAMPLES[criterion]
    seed = None if share is None else seed
    return CohortRule(criterion, below, above, min_examples, share, seed, vocabulary, public, at_most, where)


def exclusive(one: CohortRule, other: CohortRule) -> bool:
    """Whether no user can satisfy both rules under the same primary model and the same frozen measurement.

    Decided from the rules alone. Cohorts by example never are by their criteria: a user may have examples in both. Any
    two are whose `where` asks one attribute for values that differ: a user has one.
    """
    if None not in (one.where, other.where) and parse(one.where).disjoint(parse(other.where)):
        return True
    first, second = sorted((one, other), key=lambda rule: rule.criterion)
    if (first.criterion, second.criterion) != ("high-accuracy", "low-accuracy"):
        return False
    return second.below <= first.above
