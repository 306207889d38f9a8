"""Cohorts: a rule decided on a data set from a measurement that is frozen beside it, and what may be said of it."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fedprobe.clients.attributes import Snapshot, matching
from fedprobe.clients.data.shards import DataError, FederatedDataset
from fedprobe.clients.data.vocabulary import made_here
from fedprobe.clients.density import Densities
from fedprobe.clients.density import require_fit as require_public_fit
from fedprobe.clients.measuring import (
    Measurement,
    OovCounts,
    count_oov,
    freeze_attributes,
    frozen_attributes,
    frozen_measurement,
    is_private,
    measure,
    measure_density,
    require_fit,
    sound_users,
)
from fedprobe.clients.selection import Members, accuracy_histogram, decide, membership_histogram
from fedprobe.errors import RequestError
from fedprobe.models.primary import load_primary
from fedprobe.models.public import PublicModel, load_public
from fedprobe.models.vocabulary import Vocabulary, read_vocabulary
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.entries import Cell, Entry
from fedprobe.privacy.histogram import (
    Estimate,
    ReleasedHistogram,
    accuracy_histogram_of,
    at_least_one,
    membership_histogram_of,
)
from fedprobe.privacy.ledger import Ledger
from fedprobe.privacy.population import Population, require_registered, tighter
from fedprobe.privacy.predicates import parse
from fedprobe.privacy.randomness import key
from fedprobe.privacy.rules import CohortRule

SCHEMA = "fedprobe.cohort/1"
THRESHOLDS_ARE = ("public", "dp", "exact-simulation")
_QUARTILES = (25, 50, 75)


@dataclass(frozen=True)
class Cohort:
    """A rule, its members, and what they were decided with.

    `primary` and `measurement` for a rule that measures users, `vocabulary` (a file) and `counts` for `oov-words`,
    `public` (a folder) and `measurement` for `unlike-public`; None where the rule needs none. A rule with `where` has
    measurements of the users that match alone, or the `Snapshot` that their attributes are of, frozen too.
    `thresholds_are`: where an accuracy threshold comes from, `public`, `dp` (a release of this population's ledger) or
    `exact-simulation`. `released`: the figures of a private cohort that were released, as JSON; `histogram` of
    accuracies, released or, in a simulation, exact.
    """

    rule: CohortRule
    members: Members
    primary: str | None = None
    measurement: Measurement | Densities | Snapshot | None = None
    vocabulary: str | None = None
    counts: OovCounts | None = None
    thresholds_are: str = "public"
    released: Mapping | None = None
    histogram: ReleasedHistogram | None = None
    public: str | None = None

    def member_keys(self, dataset: FederatedDataset) -> Sequence[int]:
        """A hash of each member's id, which stands for her where a draw must be reproducible."""
        # Eight bytes each, where a list would take five times as much.
        return array("q", (key(dataset.user_id(int(user))) for user in self.members.users))

    def conditional_on(
        self, dataset: FederatedDataset, provenance: str | None = None, ledger: Ledger | None = None
    ) -> str | None:
        """What decided the cohort and may know these users, if anything: an epsilon covers only what is learned beyond.

        A `primary model` does unless it was fixed independently of these users or is itself a DP release: one that was
        trained in the clear on this very population does, and one that its folder, the population's record or
        `provenance` (what the modeler says of it) calls `conditional`. What is called `dp` is believed only of a run
        whose rounds were opened in this population's `ledger`. For a `vocabulary` see `vocabulary_known`. The
        `thresholds` do where they are exact figures of a population that has become private since, and a `public
        model` does that was made of these very users.
        """
        if self.vocabulary is not None:
            return vocabulary_known(dataset, self.members.outside, provenance)
        if self.public is not None:
            # It is made of simulations alone: of these users only where these are one of them.
            made_of = load_public(Path(self.public)).description.get("populations")
            known = dataset.population is None or made_of is None or dataset.population.id in made_of
            return "public model" if known else None
        if self.primary is None:
            return None
        _, description = load_primary(Path(self.primary))
        described = description.get("provenance", "conditional")
        in_the_clear = description.get("population") == dataset.population.id and described != "dp"
        said = tighter(provenance, described, dataset.population.provenance)
        released = ledger is not None and ledger.opened(str(description.get("run_id"))) > 0
        known = ["primary model"] if in_the_clear or said == "conditional" or (said == "dp" and not released) else []
        if is_private(dataset) and self.thresholds_are == "exact-simulation":
            known.append("thresholds")
        return " and the ".join(known) or None

    def to_json(self, dataset: FederatedDataset) -> dict:
        """The cohort file but for the histogram: no ids, and no figure that is neither exact (a simulation) nor DP.

        Raises PrivacyRefusal where the shards are not registered.
        """
        population = require_registered(dataset.population, "counting a cohort")
        value = {
            "schema": SCHEMA,
            "population": population.id,
            "rule": self.rule.to_json(),
            **({} if self.rule.below is None and self.rule.above is None else {"thresholds_are": self.thresholds_are}),
            "primary": self.primary,
            "measurement": None if self.measurement is None else self.measurement.id,
            "vocabulary": self.vocabulary,
            **({} if self.public is None else {"public": self.public}),
        }
        if is_private(dataset):
            return value | (self.released or {"count": None, "count_is": "not-released"})
        return value | self._exact(len(dataset))

    def _exact(self, users: int) -> dict:
        """The figures of a simulation's cohort."""
        value = {"count": len(self.members), "count_is": "exact-simulation", "users": users}
        if isinstance(self.measurement, Measurement):
            percentiles = np.nanpercentile(self.measurement.accuracy(), _QUARTILES)
            value["accuracy_percentiles"] = dict(zip(map(str, _QUARTILES), percentiles.tolist(), strict=True))
            value["accuracy_percentiles_are"] = "exact-simulation"
        if self.counts is not None:
            value["oov_rate"] = self.counts.rate
            value["oov_rate_is"] = "exact-simulation"
        if isinstance(self.measurement, Densities):
            chosen, of = len(self.members.rows.flat), len(self.measurement.log_density)
            value |= {"examples": chosen, "of_examples": of, "examples_are": "exact-simulation"}
        return value


def vocabulary_known(dataset: FederatedDataset, vocabulary: Vocabulary, provenance: str | None) -> str | None:
    """`vocabulary` if it may know these users: counted on them, or not said to be `public` by `provenance`.

    No ledger knows of a vocabulary, so that one that is called `dp` is not believed.
    """
    return "vocabulary" if made_here(dataset, vocabulary) or provenance != "public" else None


def require_decidable(
    dataset: FederatedDataset,
    rule: CohortRule,
    primary: Path | None = None,
    vocabulary: Path | None = None,
    public: Path | None = None,
) -> None:
    """Raise what `decide_cohort` would raise about the models and data it is given, before any user is looked at."""
    if rule.needs_vocabulary:
        _words(rule, vocabulary)
        dataset.require_text()
    if rule.needs_primary:
        model, _ = load_primary(_model(rule, primary))
        require_fit(dataset, model)
    if rule.needs_public:
        require_public_fit(dataset, _public(rule, public))


def decide_cohort(
    dataset: FederatedDataset,
    rule: CohortRule,
    primary: Path | None = None,
    device: str = "cpu",
    on_users: Callable[[int], None] = lambda users: None,
    vocabulary: Path | None = None,
    public: Path | None = None,
    *,
    percentile: float | None = None,
    entry: Entry | None = None,
    workers: int | None = None,
) -> Cohort:
    """Measure `dataset` with the `primary` or `public` model, or `vocabulary`, that `rule` needs, and decide the rule.

    `percentile` takes the threshold of a rule about accuracy at that share of the users, whatever it said: exactly in
    a simulation, at an edge of the noised histogram on private data. `entry` is the ledger's entry that pays for the
    figures of a private cohort; without it none are released. `workers` measure (None: one a core).
    *Guarantee:* on private data, `released` and the threshold of a `percentile` are post-processing of one Gaussian
    histogram whose event is `entry`'s. *Assumes:* an entry is used once.
    Raises DataError for data that does not fit, or in a simulation an empty cohort; StoredError for a damaged model;
    RequestError where a rule needs a primary model and none is given.
    """
    private = is_private(dataset)
    if private and percentile is not None and entry is None:
        raise ValueError("a percentile of private accuracies is a release, which an entry of the ledger pays for")
    snapshot = None if rule.where is None else freeze_attributes(dataset)
    matches = None if snapshot is None else matching(snapshot, parse(rule.where), private)
    everybody = np.ones(len(dataset), bool) if matches is None else matches
    if rule.needs_vocabulary:
        words = _words(rule, vocabulary)
        dataset.require_text()
        sound = sound_users(dataset, workers=workers) if private else None
        sound = None if sound is None else sound & everybody
        counts = count_oov(dataset, words, on_users, sound, workers).of(everybody)
        members = decide(rule, dataset, vocabulary=words, counts=counts, sound=sound)
        cohort = Cohort(rule, members, measurement=snapshot, vocabulary=str(vocabulary), counts=counts)
        return _with_membership(cohort, sound, entry) if private and entry else cohort
    if rule.needs_public:
        densities = measure_density(dataset, _public(rule, public), on_users, workers)
        densities = _of_users(densities, everybody, snapshot)
        cohort = Cohort(rule, decide(rule, dataset, densities=densities), measurement=densities, public=str(public))
        return _with_membership(cohort, densities.measured, entry) if private and entry else cohort
    if not rule.needs_primary:
        sound = everybody & sound_users(dataset, None, on_users, workers) if private else matches
        cohort = Cohort(rule, decide(rule, dataset, sound=sound), measurement=snapshot)
        return _with_membership(cohort, sound, entry) if private and entry else cohort
    primary = _model(rule, primary)
    model, description = load_primary(primary, device)
    measurement = measure(dataset, model, description["tensors_sha256"], device, on_users, workers)
    measurement = _of_users(measurement, everybody, snapshot)
    if private and rule.by_example:
        cohort = Cohort(rule, decide(rule, dataset, measurement), str(primary), measurement)
        return _with_membership(cohort, measurement.measured, entry) if entry else cohort
    histogram = _accuracies(rule, measurement, percentile, private, entry)
    thresholds_are = "public"
    if percentile is not None:
        thresholds_are = "dp" if private else "exact-simulation"
        limit = histogram.threshold(percentile) if private else _exact_percentile(measurement, percentile)
        rule = replace(rule, **{"above" if rule.below is None else "below": limit})
    members = decide(rule, dataset, measurement)
    released = _accuracy_figures(rule, histogram, entry) if private and entry else None
    return Cohort(rule, members, str(primary), measurement, None, None, thresholds_are, released, histogram)


def _of_users(
    measured: Measurement | Densities, users: np.ndarray, snapshot: Snapshot | None
) -> Measurement | Densities:
    """What was `measured` of these `users` [users] (bool) alone, whom the attributes in `snapshot` tell.

    Cohorts exclude each other only under one measurement and one snapshot: its id is of both.
    """
    if snapshot is None:
        return measured
    return replace(measured.of(users), id=f"{measured.id}-{snapshot.id}")


def _words(rule: CohortRule, vocabulary: Path | None) -> Vocabulary:
    if vocabulary is None:
        raise RequestError(f"the cohort {rule.criterion} needs --vocabulary FILE, to know what is outside it")
    return read_vocabulary(vocabulary)


def _model(rule: CohortRule, primary: Path | None) -> Path:
    if primary is None:
        raise RequestError(
            f"the cohort {rule.criterion} needs --primary MODEL, the classifier to measure users with "
            "(or [primary] model in fedprobe.toml)"
        )
    return primary


def _public(rule: CohortRule, public: Path | None) -> PublicModel:
    if public is None:
        raise RequestError(
            f"the cohort {rule.criterion} needs --public MODEL, the density of public examples: fedprobe train-density"
        )
    model = load_public(public)
    if model.digest != rule.public:
        raise DataError(f"the public model {public} is not the one that the cohort was made with; select it again")
    return model


def _exact_percentile(measurement: Measurement, share: float) -> float:
    return float(np.nanpercentile(measurement.accuracy(), 100 * share))


def _accuracies(
    rule: CohortRule, measurement: Measurement, percentile: float | None, private: bool, entry: Entry | None
) -> ReleasedHistogram | None:
    """The histogram of accuracies: exact in a simulation, noised where `entry` pays for it, None otherwise."""
    if private and entry is None:
        return None
    # A threshold that is not to be found yet is public, and may be an edge.
    threshold = None if percentile is not None else rule.below if rule.above is None else rule.above
    bins = accuracy_histogram_of(_noise(entry) if private else 0.0, threshold, right_closed=rule.above is not None)
    return bins.release(accuracy_histogram(measurement, bins))


def _noise(entry: Entry) -> float:
    """The noise multiplier that `entry` was charged for. Raises ValueError unless it is one release to every user."""
    (event,) = entry.events
    if (event.sampling_probability, event.rounds) != (1.0, 1) or event.noise_multiplier <= 0:
        raise ValueError("the entry does not pay for a histogram")
    return event.noise_multiplier


def _accuracy_figures(rule: CohortRule, histogram: ReleasedHistogram, entry: Entry) -> dict:
    """What is released about a cohort by accuracy and its population: all of it follows from the noised histogram."""
    count = histogram.below(rule.below) if rule.above is None else histogram.above(rule.above)
    percentiles = {str(percent): histogram.percentile(percent / 100) for percent in _QUARTILES}
    intervals = {str(percent): list(histogram.percentile_interval(percent / 100)) for percent in _QUARTILES}
    return {
        **_figures(count, histogram.users, entry),
        "accuracy_percentiles": percentiles,
        "accuracy_percentiles_are": "dp",
        "accuracy_percentile_intervals": intervals,
    }


def _with_membership(cohort: Cohort, counted: np.ndarray, entry: Entry) -> Cohort:
    """The cohort with its DP count and that of its population: `counted` [users] are those with content of any use."""
    bins = membership_histogram_of(_noise(entry))
    histogram = bins.release(membership_histogram(cohort.members, counted, bins))
    return replace(cohort, released=_figures(histogram.above(1.0), histogram.users, entry))


def _figures(count: Estimate, users: Estimate, entry: Entry) -> dict:
    return {
        "count": at_least_one(count),
        "count_is": "dp",
        "count_standard_error": count.standard_error,
        "users": at_least_one(users),
        "users_standard_error": users.standard_error,
        "noise_multiplier": _noise(entry),
        "epsilon": epsilon(entry.events, entry.delta).value,
        "delta": entry.delta,
        "ledger_entry": entry.id,
    }


def frozen_cell(
    rule: CohortRule, paths: Sequence[Path], population: Population, record: Path | None, primary: Path | None
) -> Cell | None:
    """The users that `rule` can select, if the shards at `paths`, which stay closed, were measured with `primary`.

    And if their attributes were asked for, where the rule has a `where`. For a look ahead only. None where they were
    not, too: what is still to be measured shares no cell with any entry, so that its plan costs as much as one on
    everybody. Raises StoredError for a damaged model.
    """
    frozen: list[Measurement | Snapshot | None] = []
    if rule.needs_primary:
        if primary is None:
            return None
        _, description = load_primary(primary)
        frozen.append(frozen_measurement(paths, population, record, description["tensors_sha256"]))
    if rule.where is not None:
        frozen.append(frozen_attributes(paths, population, record))
    known = [one.id for one in frozen if one is not None]
    # Named as `decide_cohort` names what it decides from.
    return Cell.of(rule, "-".join(known)) if known and len(known) == len(frozen) else None
