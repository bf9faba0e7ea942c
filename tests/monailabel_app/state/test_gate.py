"""The gate: promotes exactly what is not worse, and says why in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monailabel_app.learning.gate import decide

Scores = dict[str, dict[str, float]]

dice = st.floats(0, 1)
margins = st.floats(0, 0.3)
floors = st.floats(-1, 0)


@st.composite
def paired(draw: st.DrawFn) -> tuple[Scores, Scores]:
    labels = draw(st.sets(st.sampled_from(["tumour", "liver", "spleen"]), min_size=1))
    cases = draw(st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6))
    one, two = ({c: {n: draw(dice) for n in sorted(labels)} for c in sorted(cases)} for _ in range(2))
    return one, two


def mean_of(scores: Scores) -> float:
    per_case = [sum(s.values()) / len(s) for s in scores.values()]
    return sum(per_case) / len(per_case)


@given(paired(), margins, floors)
def test_the_rule_is_mean_and_worst_case(pair: tuple[Scores, Scores], margin: float, floor: float) -> None:
    champion, challenger = pair
    decision = decide(champion, challenger, margin, floor)
    gain = mean_of(challenger) - mean_of(champion)
    worst = min(mean_of({c: challenger[c]}) - mean_of({c: champion[c]}) for c in champion)
    if gain < -margin - 1e-6 or worst < floor - 1e-6:
        assert not decision.promoted
        assert decision.reason.startswith("Refused")
    if gain > -margin + 1e-6 and worst > floor + 1e-6:
        assert decision.promoted
    assert decision.mean_champion == pytest.approx(mean_of(champion))
    assert decision.mean_challenger == pytest.approx(mean_of(challenger))


@given(paired())
def test_equals_are_not_worse(pair: tuple[Scores, Scores]) -> None:
    champion, _ = pair
    reordered = {c: dict(reversed(champion[c].items())) for c in reversed(champion)}
    assert decide(champion, reordered).promoted


@given(paired(), margins)
def test_of_two_that_differ_at_most_one_beats_the_other_without_margin(
    pair: tuple[Scores, Scores], margin: float
) -> None:
    one, two = pair
    if abs(mean_of(one) - mean_of(two)) > 1e-6:
        assert not (decide(one, two, 0, -1).promoted and decide(two, one, 0, -1).promoted)


@given(paired(), st.data(), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_scores_that_are_no_numbers_refuse(pair: tuple[Scores, Scores], data: st.DataObject, bad: float) -> None:
    broken = data.draw(st.sampled_from(pair))
    case = data.draw(st.sampled_from(sorted(broken)))
    broken[case][data.draw(st.sampled_from(sorted(broken[case])))] = bad
    decision = decide(*pair, margin=0.3, worst_case_floor=-1)
    assert not decision.promoted
    assert case in decision.reason
    assert "not a number" in decision.reason


def test_without_cases_nothing_is_promoted() -> None:
    decision = decide({}, {})
    assert not decision.promoted
    assert "No validation case" in decision.reason


def test_a_loss_of_exactly_what_is_allowed_is_allowed() -> None:
    assert decide({"a": {"t": 0.8}}, {"a": {"t": 0.7}}, margin=0.1).promoted
    assert decide({"a": {"t": 1.0}, "b": {"t": 0.1}}, {"a": {"t": 0.9}, "b": {"t": 0.9}}, 0, -0.1).promoted


def test_the_reason_tells_a_clinician_what_happened() -> None:
    better = decide({"a": {"t": 0.5}, "b": {"t": 0.6}}, {"a": {"t": 0.7}, "b": {"t": 0.6}})
    assert better.reason == "Better: mean Dice 0.650 against 0.550 of the version in use, on 2 validation cases."
    worse = decide({"a": {"t": 0.5}}, {"a": {"t": 0.4}}, margin=0.05)
    assert worse.reason == (
        "Refused: mean Dice 0.400 against 0.500 of the version in use, on 1 validation case "
        "(a loss of up to 0.050 is allowed)."
    )
    ruined = decide({"a": {"t": 0.1}, "b": {"t": 0.9}}, {"a": {"t": 0.9}, "b": {"t": 0.5}})
    assert ruined.worst_case is not None
    assert ruined.worst_case.case == "b"
    assert "on case b Dice would fall from 0.900 to 0.500" in ruined.reason


def test_labels_are_reported_apart_over_the_cases_that_have_them() -> None:
    one = {"a": {"x": 0.2, "y": 0.4}, "b": {"x": 0.4}}
    two = {"a": {"x": 0.4, "y": 0.5}, "b": {"x": 0.6}}
    decision = decide(one, two)
    assert decision.per_label["x"].champion == pytest.approx(0.3)
    assert decision.per_label["x"].challenger == pytest.approx(0.5)
    assert decision.per_label["y"].champion == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("one", "two"),
    [({"a": {"t": 1.0}}, {"b": {"t": 1.0}}), ({"a": {"t": 1.0}}, {"a": {"u": 1.0}}), ({"a": {}}, {"a": {}})],
)
def test_what_cannot_be_paired_is_a_programming_error(one: Scores, two: Scores) -> None:
    with pytest.raises(ValueError, match="scored"):
        decide(one, two)
