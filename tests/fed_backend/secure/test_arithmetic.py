"""Fixed point, shares and masks, each for itself."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from fed_backend.errors import PayloadError
from fed_backend.payload import Tensors
from fed_backend.secure.fixed_point import EXAMPLES, LIMIT, STEP, mean_of, words_of
from fed_backend.secure.masks import KEY_BYTES, opened, pair_mask, public_of, sealed, self_mask
from fed_backend.secure.roster import threshold
from fed_backend.secure.shamir import SECRET_BYTES, joined, split

SHAPES = {"a": (300, 7), "b": (11,)}


def trained(seed: int, scale: float = 1.0) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("examples", [(1, 1, 1), (3, 50, 700), (EXAMPLES // 3, 1, EXAMPLES // 3)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 3000.0])
def test_the_mean_is_the_plain_weighted_mean_to_half_a_step(examples: Sequence[int], scale: float) -> None:
    tensors = [trained(seed, scale) for seed in range(3)]
    total = sum(words_of(t, n, 3) for t, n in zip(tensors, examples, strict=True))
    mean, counted = mean_of(total, SHAPES)
    assert counted == sum(examples)
    for name in SHAPES:
        exact = np.average([t[name].astype(np.float64) for t in tensors], axis=0, weights=examples)
        step = STEP / 2 + np.spacing(np.abs(exact).astype(np.float32)) / 2
        assert (np.abs(mean[name] - exact) <= step).all()


def test_the_largest_updates_do_not_overflow() -> None:
    largest = {"a": np.full((300, 7), LIMIT, np.float32), "b": np.full(11, -LIMIT, np.float32)}
    mean, _ = mean_of(sum(words_of(largest, EXAMPLES // 3, 3) for _ in range(3)), SHAPES)
    for name in SHAPES:
        np.testing.assert_array_equal(mean[name], largest[name])


@pytest.mark.parametrize("examples", [0, -1, EXAMPLES // 3 + 1])
def test_examples_that_a_sum_cannot_hold_are_refused(examples: int) -> None:
    with pytest.raises(PayloadError, match="examples from each"):
        words_of(trained(0), examples, 3)


def test_a_number_that_a_sum_cannot_hold_is_refused_by_name() -> None:
    too_large = {**trained(0), "b": np.full(11, 1.01 * LIMIT, np.float32)}
    with pytest.raises(PayloadError, match="tensor 'b'"):
        words_of(too_large, 1, 3)


def test_what_is_no_sum_of_updates_is_noticed() -> None:
    noise = np.frombuffer(secrets.token_bytes(8 * 2112), "<u8")
    with pytest.raises(ValueError, match="no sum of updates"):
        mean_of(noise, SHAPES)
    total = words_of(trained(0), 5, 3)
    total[7] += np.uint64(2**62)
    with pytest.raises(ValueError, match="beyond all updates"):
        mean_of(total, SHAPES)


@pytest.mark.parametrize(("shares", "needed"), [(3, 2), (5, 4), (7, 5)])
def test_any_threshold_of_shares_gives_the_secret_back(shares: int, needed: int) -> None:
    secret = bytes(range(SECRET_BYTES))
    parts = split(secret, shares, needed)
    for chosen in combinations(parts, needed):
        assert joined({number: parts[number] for number in chosen}) == secret
    assert joined(parts) == secret


def test_fewer_shares_say_nothing() -> None:
    """With one share fewer, every secret is as likely: some polynomial leads from the shares to any of them."""
    parts = split(bytes(SECRET_BYTES), 3, 3)
    with pytest.raises(ValueError, match="belong together"):
        joined({number: parts[number] for number in (1, 2)})
    one, other = split(bytes(SECRET_BYTES), 3, 2), split(bytes(SECRET_BYTES), 3, 2)
    assert not {*one.values()} & {*other.values()}


def keys() -> tuple[bytes, bytes]:
    private = secrets.token_bytes(KEY_BYTES)
    return private, public_of(private)


def test_the_masks_of_a_pair_cancel_and_no_others_do() -> None:
    (north, north_public), (south, south_public) = keys(), keys()
    one = pair_mask(north, south_public, b"round 1", "north", "south", 1000)
    other = pair_mask(south, north_public, b"round 1", "south", "north", 1000)
    assert not (one + other).any()
    for about, key in ((b"round 2", south), (b"round 1", keys()[0])):
        stranger = pair_mask(key, north_public, about, "south", "north", 1000)
        assert np.count_nonzero(one + stranger) > 990


@pytest.mark.parametrize("byte", range(8))
def test_a_masked_update_looks_uniform(byte: int) -> None:
    """Chi-square over the values of each byte of a word; without the masks the same test fails by far."""
    private, (_, public) = secrets.token_bytes(KEY_BYTES), keys()
    words = words_of({"a": np.zeros((300, 300), np.float32)}, 1, 3)

    def chi_square(masked: np.ndarray) -> float:
        seen = np.bincount(masked.view(np.uint8)[byte::8], minlength=256)
        expected = len(masked) / 256
        return float((np.square(seen - expected) / expected).sum())

    masks = pair_mask(private, public, b"", "north", "south", len(words)), self_mask(private, b"", "n", len(words))
    for mask in masks:
        assert chi_square(words + mask) < 400, "255 are expected, with a deviation of 23"
    assert chi_square(words) > 1e6


def test_the_hubs_view_changes_wholly_with_the_key() -> None:
    words = words_of(trained(0), 1, 3)
    one, other = (words + self_mask(secrets.token_bytes(KEY_BYTES), b"", "north", len(words)) for _ in range(2))
    different = np.unpackbits((one ^ other).view(np.uint8)).mean()
    assert 0.48 < different < 0.52, "half of all bits"


def test_a_box_opens_for_its_receiver_alone() -> None:
    (north, north_public), (south, south_public), (west, _) = keys(), keys(), keys()
    box = sealed(north, south_public, b"round 1", "north", "south", b"two shares")
    assert opened(south, north_public, b"round 1", "north", "south", box) == b"two shares"
    for key, about, sender, data in [
        (west, b"round 1", "north", box),
        (south, b"round 2", "north", box),
        (south, b"round 1", "west", box),
        (south, b"round 1", "north", box[:-1] + bytes([box[-1] ^ 1])),
    ]:
        with pytest.raises(PayloadError, match="not made for this site and round"):
            opened(key, north_public, about, sender, "south", data)


def test_a_public_key_without_a_secret_is_refused() -> None:
    with pytest.raises(PayloadError, match="no shared secret"):
        pair_mask(keys()[0], bytes(KEY_BYTES), b"", "north", "south", 1)


def test_two_views_of_a_sum_cannot_both_be_signed_by_enough() -> None:
    """While fewer than a third of the sites sign twice; of three, all are in every view."""
    assert threshold(3) == 2
    for sites in range(4, 200):
        in_league = -(-sites // 3) - 1
        assert 2 * threshold(sites) > sites + in_league
        assert threshold(sites) <= sites
