"""Plans that just keep to an epsilon: enough, and hardly more than enough."""

import pytest

from fedprobe.privacy.planning import PlannedRounds, scale, solve

PLAN = {"noise_multiplier": 1.0, "users_per_round": 20, "population": 1000, "rounds": 50}
LESS_SAFE = {
    "noise-multiplier": ("noise_multiplier", 0.998),
    "users-per-round": ("users_per_round", 1),
    "rounds": ("rounds", 1),
    "population": ("population", -1),
}


def cost(plan: PlannedRounds, **changes) -> float:
    numbers = {name: changes.get(name, getattr(plan, name)) for name in PLAN}
    changed = PlannedRounds(**numbers, delta=plan.delta, participation=plan.participation)
    return changed.epsilon("rdp")


@pytest.mark.parametrize("participation", ["poisson", "fixed", "none"])
@pytest.mark.parametrize("unknown", ["noise-multiplier", "rounds"])
@pytest.mark.parametrize("target", [2.0, 9.0])
def test_it_is_enough_and_a_little_more_would_not_be(unknown, target, participation):
    name, step = LESS_SAFE[unknown]
    known = {key: value for key, value in PLAN.items() if key != name}
    if unknown == "rounds":
        known["noise_multiplier"] = 20.0
    found = solve(unknown, target_epsilon=target, delta=1e-6, participation=participation, accountant="rdp", **known)
    assert cost(found) <= target
    value = getattr(found, name)
    assert cost(found, **{name: value * step if unknown == "noise-multiplier" else value + step}) > target


@pytest.mark.parametrize("unknown", ["users-per-round", "population"])
def test_the_same_of_the_numbers_that_decide_the_sampling(unknown):
    name, step = LESS_SAFE[unknown]
    known = {key: value for key, value in PLAN.items() if key != name}
    found = solve(unknown, target_epsilon=3.0, delta=1e-6, accountant="rdp", **known)
    assert cost(found) <= 3.0 < cost(found, **{name: getattr(found, name) + step})


def test_a_smaller_target_never_asks_for_less_noise():
    known = {name: value for name, value in PLAN.items() if name != "noise_multiplier"}
    noise = [
        solve("noise-multiplier", target_epsilon=target, delta=1e-6, accountant="rdp", **known).noise_multiplier
        for target in (0.2, 1.0, 5.0)
    ]
    assert noise == sorted(noise, reverse=True)


def test_the_papers_scale_up_keeps_the_noise_on_the_mean():
    """Section 6: z = 0.01 with 10 users a round is z = 1 with 1,000."""
    simulated = PlannedRounds(noise_multiplier=0.01, users_per_round=10, population=3400, rounds=1000)
    deployed = scale(simulated, 2_000_000)
    assert (deployed.users_per_round, deployed.noise_multiplier, deployed.rounds) == (1000, 1.0, 1000)
    assert deployed.noise_on_the_mean == pytest.approx(simulated.noise_on_the_mean)


@pytest.mark.parametrize("target", [0.0, -1.0, float("nan")])
def test_what_is_no_target_is_refused(target):
    known = {name: value for name, value in PLAN.items() if name != "noise_multiplier"}
    with pytest.raises(ValueError):
        solve("noise-multiplier", target_epsilon=target, delta=1e-6, accountant="rdp", **known)
