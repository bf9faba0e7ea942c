"""The gate: promotes what is shown not to be worse, and says why in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monailabel_app.learning.gate import Decision, GateRule, Pair, decide, hopeless, promising
from monailabel_app.learning.paired import fewest, lower_bound

Scores = dict[str, dict[str, float]]

dice = st.floats(0, 1)
floors = st.floats(-1, 0)
PLAIN = GateRule(margin=0, confidence=0.5, case_floor=-1, label_floor=-1)
"""The mean alone decides."""


@st.composite
def paired(draw: st.DrawFn) -> tuple[Scores, Scores]:
    labels = draw(st.sets(st.sampled_from(["tumour", "liver", "spleen"]), min_size=1))
    cases = draw(st.sets(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6))
    one, two = ({c: {n: draw(dice) for n in sorted(labels)} for c in sorted(cases)} for _ in range(2))
    return one, two


def single(*values: float) -> Scores:
    """One label on the cases a, b, c..."""
    return {chr(ord("a") + n): {"t": value} for n, value in enumerate(values)}


def gate(one: Scores, two: Scores, rule: GateRule | None = None) -> Decision:
    return decide(Pair(one, two), rule)


def mean_of(scores: Scores) -> float:
    per_case = [sum(s.values()) / len(s) for s in scores.values()]
    return sum(per_case) / len(per_case)


@given(paired(), st.floats(0, 0.3), floors, floors, st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_whatever_is_promoted_keeps_every_promise(
    pair: tuple[Scores, Scores], margin: float, floor: float, label_floor: float, confidence: float
) -> None:
    rule = GateRule(margin=margin, confidence=confidence, case_floor=floor, label_floor=label_floor)
    champion, challenger = pair
    decision = gate(champion, challenger, rule)
    assert decision.bound is not None
    changes = [mean_of({c: challenger[c]}) - mean_of({c: champion[c]}) for c in champion]
    labels = next(iter(champion.values()))
    label_changes = [sum(challenger[c][n] - champion[c][n] for c in champion) / len(champion) for n in labels]
    kept = (
        min(changes) >= floor - 1e-6 and min(label_changes) >= label_floor - 1e-6 and decision.bound >= -margin - 1e-6
    )
    if decision.promoted:
        assert kept
    else:
        assert decision.reason.startswith("Refused")
    assert decision.bound <= sum(changes) / len(changes) + 1e-6
    assert decision.mean_champion == pytest.approx(mean_of(champion))
    assert decision.mean_challenger == pytest.approx(mean_of(challenger))


@given(paired(), st.sampled_from([0.5, 0.9]))
def test_equals_are_never_called_worse_and_order_does_not_matter(
    pair: tuple[Scores, Scores], confidence: float
) -> None:
    champion, _ = pair
    reordered = {c: dict(reversed(champion[c].items())) for c in reversed(champion)}
    decision = gate(champion, reordered, GateRule(margin=0, confidence=confidence))
    assert decision.promoted == (len(champion) >= fewest(confidence))


@given(paired())
def test_of_two_that_differ_at_most_one_beats_the_other(pair: tuple[Scores, Scores]) -> None:
    one, two = pair
    if abs(mean_of(one) - mean_of(two)) > 1e-6:
        assert not (gate(one, two, PLAIN).promoted and gate(two, one, PLAIN).promoted)


@given(paired(), st.data(), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_scores_that_are_no_numbers_refuse(pair: tuple[Scores, Scores], data: st.DataObject, bad: float) -> None:
    broken = data.draw(st.sampled_from(pair))
    case = data.draw(st.sampled_from(sorted(broken)))
    broken[case][data.draw(st.sampled_from(sorted(broken[case])))] = bad
    decision = gate(*pair, PLAIN)
    assert not decision.promoted
    assert case in decision.reason
    assert "not a number" in decision.reason


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 12, 25])
def test_a_truly_worse_model_is_promoted_at_most_as_often_as_stated(count: int, confidence: float) -> None:
    """Thousands of sites at each of which the challenger is worse by just the margin; three shapes of noise."""
    rng = np.random.default_rng(count)
    rule = GateRule(margin=0.02, confidence=confidence, case_floor=-1, label_floor=-1, spread=0.1)
    trials = 600
    noise = [
        rng.normal(0, 0.08, (trials, count)),
        rng.uniform(-0.15, 0.15, (trials, count)),
        0.03 * rng.choice([-1, 1], (trials, count)) * rng.exponential(1, (trials, count)),
    ]
    promoted = [
        lower_bound(changes, rule.confidence, rule.spread) >= -rule.margin
        for shape in noise
        for changes in shape - rule.margin
    ]
    allowed = 1 - confidence
    assert np.mean(promoted) <= allowed + 3 * math.sqrt(allowed * confidence / len(promoted))


def test_the_gate_itself_refuses_worse_models_and_lets_better_ones_pass() -> None:
    """End to end over 1000 sites with four to ten cases: champion about 0.7, changes of 0.05 around the truth."""
    rng = np.random.default_rng(7)
    rates = {}
    for truth in (-0.05, -0.01, 0.05):
        passed = 0
        for _ in range(1000):
            count = int(rng.integers(4, 11))
            before = rng.uniform(0.6, 0.8, count)
            after = before + rng.normal(truth, 0.05, count)
            passed += gate(single(*before), single(*after)).promoted
        rates[truth] = passed / 1000
    assert rates[-0.05] < 0.01
    assert rates[-0.01] <= 0.13
    assert rates[0.05] > 0.8


@pytest.mark.parametrize("truth", [-0.01, -0.02, -0.04])
def test_a_second_smaller_step_lets_no_more_worse_models_pass(truth: float) -> None:
    """Of a step that changes cases by d, half of it changes them by d / 2; a step of -0.02 makes one of -0.01."""
    rng = np.random.default_rng(11)
    worse, trials = 0, 1000
    for _ in range(trials):
        count = int(rng.integers(4, 11))
        before = rng.uniform(0.5, 0.7, count)
        change = rng.normal(truth, 0.05, count)
        large = gate(single(*before), single(*(before + change)))
        if large.promoted:
            worse += 1
        elif promising(large):
            worse += truth / 2 <= -0.01 and gate(single(*before), single(*(before + change / 2))).promoted
    assert worse / trials <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / trials)


def test_a_smaller_step_is_worth_trying_only_where_the_larger_one_gains() -> None:
    champion = single(0.5, 0.5, 0.5, 0.5)
    assert promising(gate(champion, single(0.9, 0.8, 0.8, 0.1))), "better on average, one case lost"
    assert not promising(gate(champion, single(0.6, 0.6, 0.6, 0.6))), "promoted"
    assert not promising(gate(champion, single(0.6, 0.5, 0.2, 0.1))), "worse"
    assert not promising(gate({}, {})), "nothing to compare"


def test_the_exact_bound_is_that_of_the_sign_flip_test() -> None:
    """An independent count over all sign patterns: at the bound the test is just about to refuse."""
    changes = np.random.default_rng(3).normal(0.02, 0.1, 7)
    bound = lower_bound(changes, 0.9, 0.1)

    def p_value(null: float) -> float:
        shifted = changes - null
        signs = 1 - 2 * (np.arange(2**7)[:, None] >> np.arange(7) & 1)
        return float(np.mean((signs * shifted).sum(axis=1) >= shifted.sum() - 1e-12))

    assert p_value(bound - 1e-6) <= 0.1 < p_value(bound + 1e-6)


@pytest.mark.parametrize(("confidence", "count"), [(0.5, 1), (0.8, 3), (0.9, 4), (0.95, 5), (0.99, 7)])
def test_number_of_cases_from_which_a_test_exists(confidence: float, count: int) -> None:
    assert fewest(confidence) == count


def test_few_cases_promote_only_a_large_gain_on_all_of_them() -> None:
    rule = GateRule()
    assert gate(single(0.1, 0.2), single(0.6, 0.5), rule).promoted
    assert not gate(single(0.6, 0.6), single(0.64, 0.65), rule).promoted
    assert not gate(single(0.2, 0.6), single(0.8, 0.58), rule).promoted
    assert gate(single(0.6, 0.6, 0.6, 0.6), single(0.64, 0.65, 0.62, 0.61), rule).promoted


def test_without_cases_nothing_is_promoted() -> None:
    decision = gate({}, {})
    assert not decision.promoted
    assert "No validation case" in decision.reason


def test_the_reason_tells_a_clinician_what_happened() -> None:
    better = gate(single(0.5, 0.6, 0.5, 0.4), single(0.7, 0.61, 0.7, 0.6))
    assert better.reason == (
        "Better: mean Dice 0.652 against 0.500 of the version in use, on 4 validation cases (4 better, 0 worse); "
        "with 90% confidence the true change is at least +0.010."
    )
    few = gate(single(0.1), single(0.7))
    assert few.reason == (
        "Better: mean Dice 0.700 against 0.100 of the version in use, on 1 validation case (1 better, 0 worse); "
        "too few for a test, but more than chance explains where cases differ as they usually do."
    )
    worse = gate(single(0.5), single(0.4), GateRule(margin=0.05))
    assert worse.reason == (
        "Refused: mean Dice 0.400 against 0.500 of the version in use, on 1 validation case (0 better, 1 worse)."
    )
    ruined = gate(single(0.1, 0.9), single(0.9, 0.5))
    assert ruined.worst_case is not None
    assert ruined.worst_case.case == "b"
    assert "on case b Dice would fall from 0.900 to 0.500" in ruined.reason
    unsure = gate(single(0.5, 0.5, 0.5, 0.5), single(0.6, 0.4, 0.6, 0.45))
    assert "cases differ too much to be sure" in unsure.reason
    unknown = gate(single(0.5, 0.5, 0.5), single(0.52, 0.52, 0.52))
    assert "with 1 more validation case corrected" in unknown.reason


def test_of_twenty_cases_one_may_fall_below_the_floor_and_no_two() -> None:
    before = {f"c{n:02}": {"t": 0.5} for n in range(20)}
    after = {case: {"t": 0.6} for case in before}
    for number, promoted in ((1, True), (2, False)):
        after[f"c{number:02}"] = {"t": 0.1}
        assert gate(before, after).promoted == promoted
    few = {case: after[case] for case in list(before)[:5]}
    assert not gate({case: before[case] for case in few}, {**few, "c02": {"t": 0.6}}).promoted


@given(st.lists(st.tuples(dice, dice), min_size=1, max_size=3), st.lists(st.tuples(dice, dice), max_size=22))
def test_what_more_cases_cannot_rescue_is_not_rescued_by_them(
    known: list[tuple[float, float]], more: list[tuple[float, float]]
) -> None:
    rule = GateRule(margin=1, confidence=0.5, case_floor=-0.2, label_floor=-1)
    one, two = ({str(n): {"t": pair[side]} for n, pair in enumerate(known + more)} for side in (0, 1))
    first = gate(*({str(n): scores[str(n)] for n in range(len(known))} for scores in (one, two)), rule)
    if hopeless(first, len(more)):
        assert not gate(one, two, rule).promoted


def test_a_case_below_the_floor_is_hopeless_until_twenty_cases_may_be_known() -> None:
    decision = gate(single(0.9, 0.5), single(0.6, 0.9))
    assert not decision.promoted
    assert hopeless(decision, 17)
    assert not hopeless(decision, 18)
    assert not hopeless(gate(single(0.5, 0.5), single(0.49, 0.49)), 1)


def test_a_label_that_suffers_is_a_refusal_whatever_the_others_gain() -> None:
    one = {c: {"x": 0.5, "y": 0.8} for c in "abcde"}
    two = {c: {"x": 0.9, "y": 0.7} for c in "abcde"}
    decision = gate(one, two)
    assert not decision.promoted
    assert "the mean Dice of 'y' would fall from 0.800 to 0.700" in decision.reason
    assert gate(one, two, GateRule(label_floor=-0.2)).promoted


def test_outlines_that_move_away_are_a_refusal() -> None:
    dice_pair = Pair(single(*[0.5] * 5), single(*[0.6] * 5))
    surface = Pair(single(1.0, 1.2), single(3.0, 3.2))
    decision = decide(dice_pair, surface=surface)
    assert not decision.promoted
    assert "outlines would lie 3.1 mm from the corrected ones instead of 1.1 mm" in decision.reason
    assert decide(dice_pair, GateRule(surface_limit_mm=2.5), surface=surface).promoted


def test_cases_of_cross_validation_are_named_as_such() -> None:
    pair = Pair(single(*[0.5] * 5), single(*[0.6] * 5))
    assert "on 3 validation cases and 2 training cases, each by" in decide(pair, crossed={"a", "b"}).reason
    assert [case.crossed for case in decide(pair, crossed={"a", "b"}).cases] == [True, True, False, False, False]


def test_labels_are_reported_apart_over_the_cases_that_have_them() -> None:
    one = {"a": {"x": 0.2, "y": 0.4}, "b": {"x": 0.4}}
    two = {"a": {"x": 0.4, "y": 0.5}, "b": {"x": 0.6}}
    decision = gate(one, two)
    assert decision.per_label["x"].champion == pytest.approx(0.3)
    assert decision.per_label["x"].challenger == pytest.approx(0.5)
    assert decision.per_label["y"].champion == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("one", "two"),
    [({"a": {"t": 1.0}}, {"b": {"t": 1.0}}), ({"a": {"t": 1.0}}, {"a": {"u": 1.0}}), ({"a": {}}, {"a": {}})],
)
def test_what_cannot_be_paired_is_a_programming_error(one: Scores, two: Scores) -> None:
    with pytest.raises(ValueError, match="scored"):
        gate(one, two)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("margin", -0.1),
        ("confidence", 0.4),
        ("confidence", 1.0),
        ("case_floor", 0.1),
        ("spread", 0.0),
        ("margin", math.nan),
    ],
)
def test_a_rule_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        GateRule(**{name: value})
