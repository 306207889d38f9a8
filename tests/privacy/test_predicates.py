"""Predicates on users' attributes: read and never run, and disjoint only where nobody matches both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.privacy.entries import Cell, Entry, events_of_one_user, together
from fedprobe.privacy.predicates import Predicate, parse, values_of_each
from fedprobe.privacy.rules import CohortRule, exclusive, rule

values = st.sampled_from(["2.0", "2.1", "", 1, 2, -1, 0.5, True, False])
names = st.sampled_from(["version", "age", "old"])
operators = st.sampled_from(["==", "!=", "<", ">="])
comparisons = st.one_of(
    st.builds(lambda name, op, value: f"{name} {op} {value!r}", names, operators, values),
    st.builds(lambda name, value: f"{value!r} == {name}", names, values),
    st.builds(lambda name, op, many: f"{name} {op} {many!r}", names, st.sampled_from(["in", "not in"]),
              st.lists(values, min_size=1, max_size=3)),
    names,
)  # fmt: skip
predicates = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=5,
)
users = st.dictionaries(names, values)


@given(predicates, users)
def test_it_says_what_python_would_say_where_that_can_be_compared(text, user):
    predicate = parse(text)
    assert predicate.holds(user) in (True, False)
    assert parse(predicate.text) == predicate and parse(predicate.text).holds(user) == predicate.holds(user)
    if not predicate.names <= user.keys():
        assert not predicate.holds(user)
    elif all(isinstance(value, bool) for value in user.values()) and '"' not in text and "'" not in text:
        assert predicate.holds(user) == bool(eval(text, {"__builtins__": {}}, user))  # noqa: S307


@given(predicates, predicates, users)
def test_disjoint_predicates_have_no_user_in_common(one, other, user):
    if parse(one).disjoint(parse(other)):
        assert not (parse(one).holds(user) and parse(other).holds(user))
    assert parse(one).disjoint(parse(other)) == parse(other).disjoint(parse(one))


@given(predicates, users)
def test_a_user_who_matches_has_one_of_the_values_that_are_asked_for(text, user):
    predicate = parse(text)
    if predicate.holds(user):
        assert all(user[name] in asked for name, asked in predicate.equalities.items())


@pytest.mark.parametrize(
    "text",
    ["", " ", "==", "a =", "a = 1", "a == b'x'", "a == None", "a == ...", "a == 1j", "f(a)", "a.b == 1", "a[0]"]
    + ["a + 1 > 2", "1 == 1", "'x'", "1", "True", "a if b else c", "lambda: 1", "[a]", "a in 'xyz'", "a in ()"]
    + ["a in (b,)", "a is True", "a == f'{b}'", "(a := 1)", "a == 1; b", "a == 1\nb", "a == -'x'", "a == 1e999"]
    + ["a == \0", "a == '\ud800", "(" * 240 + "a" + ")" * 240, "a and " * 200 + "a", "a == [1]", "a < (1, 2)"]
    + ["__import__('os').system('true')", "a == -1e999", "a in (1, -1e999)"],
)  # fmt: skip
def test_what_is_no_condition_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match="--where") as refused:
        parse(text)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="--where"):
        rule("random", where=text)


@given(st.integers(-(10**450), 10**450), st.floats(allow_nan=False))
def test_numbers_of_any_size_are_compared_exactly(whole, real):
    assert parse(f"a == {whole}").holds({"a": whole}) and not parse(f"a == {whole}").holds({"a": whole + 1})
    assert parse(f"a == {whole}").holds({"a": real}) == (whole == real)
    assert not parse("not a == 1").holds({"b": real}) and parse("a != 1").holds({"a": float("nan")})


def test_one_attribute_two_values():
    new, old = (rule("random", where=f"version == '{version}'") for version in ("2.1", "2.0"))
    assert exclusive(new, old) and not exclusive(new, new)
    assert not exclusive(new, rule("random", where="version != '2.1'")), "what is not told of equalities is not known"
    assert not exclusive(new, rule("random", where="locale == 'de'")) and not exclusive(new, rule("random"))
    # Of any criteria, by example too.
    assert exclusive(rule("misclassified", where="not old"), rule("low-accuracy", where="old and version == '2.1'"))
    assert "where version == '2.1'" in new.says()
    assert CohortRule("random", where='  version   == "2.1\x1b[2J"').where == "version == '2.1\\x1b[2J'"
    assert CohortRule(**new.to_json()) == new == rule("random", where='  version   == "2.1"')


def test_values_are_listed_in_order_and_once():
    assert values_of_each("v in ('b', 'a', 'b', 2)") == ("v", ["b", "a", 2])
    for text in ("v == 1", "v in (1, 2) and w", "v not in (1, 2)", "v"):
        with pytest.raises(ValueError, match="--where-each"):
            values_of_each(text)


def entry_of(epsilon: float, where: str | None = None, measurement: str = "m", **limits) -> Entry:
    return Entry("", "", (), epsilon, 0.0, Cell(measurement, where=where, **limits))


A, B = "version == 'a'", "version == 'b'"


@pytest.mark.parametrize(
    ("entries", "total"),
    [
        ([entry_of(1, A), entry_of(2, B)], 2),
        ([entry_of(1, A), entry_of(2, A)], 3),
        ([entry_of(1, A), entry_of(2, B, "other")], 3),
        ([entry_of(1, A), entry_of(2, B), entry_of(4)], 6),
        ([entry_of(1, A), entry_of(2, "locale == 'de'")], 3),
        ([entry_of(1, A, below=0.5), entry_of(2, A, above=0.5), entry_of(4, B)], 4),
        ([entry_of(1, A, below=0.5), entry_of(2, A, above=0.4)], 3),
        ([entry_of(1, "version in ('a', 'b')"), entry_of(2, B), entry_of(4, A)], 5),
        ([entry_of(1, "version != 'a'"), entry_of(2, A)], 3),
        ([entry_of(1, f"v{number} == 1") for number in range(20)], 20),
    ],
)
def test_the_ledger_charges_the_user_whom_all_costs_most(entries, total):
    assert together(entries).epsilon == total


@given(st.lists(st.tuples(predicates, st.integers(1, 9)), max_size=5), users)
def test_nobody_is_charged_less_than_she_costs(costs, user):
    entries = [entry_of(epsilon, parse(where).text) for where, epsilon in costs]
    own = sum(epsilon for where, epsilon in costs if parse(where).holds(user))
    assert together(entries).epsilon >= own
    assert events_of_one_user([], ()) == [[]]


def test_a_predicate_is_a_value():
    assert parse("a") == Predicate("a") and hash(parse("a")) == hash(Predicate("a"))
