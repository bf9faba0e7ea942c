"""A secure sum from the sites' keys to the hub's mean: with sites lost on the way, and with a hub that cheats."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from builders import header, plan
from members import Authority, Sum, secure_plan

from fed_backend.errors import FedSegError, PayloadError, PlanError, ReplayError
from fed_backend.lora import LORA_A, LORA_B
from fed_backend.methods import build_method, check_methods
from fed_backend.payload import encode
from fed_backend.secure.fixed_point import STEP, mean_of
from fed_backend.secure.site import SecureSite
from fed_backend.secure.wire import encode_masked

THREE = ["north", "south", "west"]
FIVE = ["east", "north", "south", "valley", "west"]


def assert_mean(running: Sum, total: np.ndarray, sites: list[str]) -> None:
    mean, examples = mean_of(total, running.plan.adapter)
    assert examples == sum(running.examples[site] for site in sites)
    expected = running.weighted(sites)
    for name in mean:
        np.testing.assert_allclose(mean[name], expected[name], rtol=2**-24, atol=STEP)


def test_the_hub_learns_the_mean_and_no_update(authority: Authority) -> None:
    running = Sum(authority, THREE)
    total = running.finish(running.masked())
    assert_mean(running, total, THREE)
    for site in THREE:
        alone = dict(running.tensors[site].items())
        sent = b"".join(data for (who, _), data in running.said.items() if who == site)
        assert not [name for name, tensor in alone.items() if tensor.tobytes() in sent]


@pytest.mark.parametrize("lost", [{"unshared": ["east"]}, {"unmasked": ["east"]}])
def test_the_sum_survives_a_site_that_vanishes(authority: Authority, lost: dict[str, Any]) -> None:
    running = Sum(authority, FIVE)
    survivors = running.masked(**lost)
    assert survivors == [site for site in FIVE if site != "east"]
    assert_mean(running, running.finish(survivors), survivors)


def test_a_site_that_vanishes_after_its_masked_update_still_counts(authority: Authority) -> None:
    running = Sum(authority, THREE)
    assert_mean(running, running.finish(running.masked(), silent=["west"]), THREE)
    running = Sum(authority, FIVE)
    assert_mean(running, running.finish(running.masked(), silent=["valley"]), FIVE)


def test_too_few_that_reveal_end_the_sum(authority: Authority) -> None:
    running = Sum(authority, FIVE)
    running.agreed(running.masked())
    running.step("reveal", running.hub.reveal(), lost=["east", "north"])
    with pytest.raises(ValueError, match="3 sites revealed their shares and 4 are needed"):
        running.hub.total()


def test_a_late_masked_update_of_a_lost_site_stays_masked(authority: Authority) -> None:
    """What the hub was told takes the pairs' masks off it, and not its own mask."""
    running = Sum(authority, FIVE)
    survivors = running.masked(unmasked=["east"])
    running.finish(survivors)
    late = running.sites["east"].answer("mask", running.told["mask"]["east"])
    with pytest.raises(PayloadError, match="without this site's update"):
        running.sites["east"].answer("agree", running.told["agree"]["north"])
    with pytest.raises(ReplayError, match="another sum than the one that this site signed"):
        running.sites["east"].answer("reveal", running.told["reveal"]["north"])
    running.hub.take("mask", "east", late)  # well formed
    with pytest.raises(ReplayError, match="answered already, to another request"):
        running.sites["north"].answer("agree", changed(running.told["agree"]["north"], sites=FIVE))


def changed(body: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(body), **fields}, sort_keys=True).encode()


def test_the_same_request_is_answered_with_the_same_bytes(authority: Authority) -> None:
    running = Sum(authority, THREE)
    running.finish(running.masked())
    north = running.sites["north"]
    assert north.begin(running.begun, running.update("north"), 1) == running.said["north", "train"]
    for step in ("shares", "mask", "agree", "reveal"):
        assert north.answer(step, running.told[step]["north"]) == running.said["north", step]


@pytest.mark.parametrize("step", ["shares", "mask", "agree", "reveal"])
def test_a_step_is_not_answered_for_another_round(authority: Authority, step: Any) -> None:
    before = Sum(authority, THREE)
    before.finish(before.masked())
    again = Sum(authority, THREE, attempt=2, members=before.sites)
    again.keys()
    with pytest.raises(ReplayError):
        again.sites["north"].answer(step, before.told[step]["north"])


def test_a_courier_that_was_restarted_gives_nothing_of_the_sum_before(authority: Authority) -> None:
    running = Sum(authority, THREE)
    running.masked()
    fresh = SecureSite(authority.identities["north"], running.plan, lambda *_: None)
    with pytest.raises(ReplayError, match="knows nothing of"):
        fresh.answer("mask", running.told["mask"]["north"])


def test_a_roster_of_two_is_refused_by_hub_and_site(authority: Authority) -> None:
    running = Sum(authority, THREE)
    running.keys()
    with pytest.raises(PayloadError, match="a roster of 2 sites is below the 3"):
        running.hub.share(["north", "south"])
    body = running.hub.share(THREE)["north"]
    adverts = [advert for advert in json.loads(body)["adverts"] if advert["site"] != "west"]
    with pytest.raises(PayloadError, match="a roster of 2 sites is below the 3"):
        running.sites["north"].answer("shares", changed(body, adverts=adverts))
    with pytest.raises(PayloadError, match="listed twice"):
        running.sites["north"].answer("shares", changed(body, adverts=[*adverts, adverts[1]]))


def test_a_sum_of_two_is_not_masked_and_not_revealed(authority: Authority) -> None:
    running = Sum(authority, THREE)
    running.step("shares", running.hub.share(running.keys()))
    bodies = running.hub.mask(["north", "south"])
    with pytest.raises(PayloadError, match="a sum of 2 updates is below the 3"):
        running.sites["north"].answer("mask", bodies["north"])
    survivors = running.step("mask", running.hub.mask(THREE))
    bodies = running.hub.agree({site: running.said[site, "mask"] for site in survivors})
    with pytest.raises(PayloadError, match="a sum of 2 updates is below the 3"):
        running.sites["north"].answer("agree", changed(bodies["north"], sites=["north", "south"]))


def test_the_hub_cannot_put_its_own_keys_between(authority: Authority) -> None:
    """Not unsigned, not with its own certificate, an administrator's, a stranger's, or another site's."""
    running = Sum(authority, THREE)
    body = running.hub.share(running.keys())["north"]
    west = next(advert for advert in json.loads(body)["adverts"] if advert["site"] == "west")
    stranger = Authority(["west"]).identities["west"]
    forgers = {
        "not signed by the site": {**west, "mask_key": "ab" * 32},
        "is that of 'localhost'": forged(authority.identity("localhost", "hub"), running, "west"),
        "not a site's": forged(authority.identity("localhost", "hub"), running),
        "come with no site's certificate": forged(authority.identity("admin@hub", "hub", "project_admin"), running),
        "is that of 'south'": forged(authority.identities["south"], running, "west"),
        "was not signed by this federation": forged(stranger, running),
        "are for another round": forged(authority.identities["west"], running, run="run0"),
    }
    for said, advert in forgers.items():
        adverts = [a for a in json.loads(body)["adverts"] if a["site"] != "west"]
        with pytest.raises(PayloadError, match=said):
            running.sites["north"].answer("shares", changed(body, adverts=[*adverts, advert]))
    own = [advert for advert in json.loads(body)["adverts"] if advert["site"] != "north"]
    with pytest.raises(PayloadError, match="a roster of 2"):
        running.sites["north"].answer("shares", changed(body, adverts=own))
    replaced = forged(authority.identities["north"], running)
    with pytest.raises(PayloadError, match="this site's own keys"):
        running.sites["north"].answer("shares", changed(body, adverts=[*own, replaced]))


def forged(identity: Any, running: Sum, name: str = "", run: str = "") -> dict[str, Any]:
    context = running.context.model_copy(update={"run": run}) if run else running.context
    advert = identity.advert(context, bytes(range(32)), bytes(range(32)))
    if name:
        advert = advert.model_copy(update={"site": name})
        advert = advert.model_copy(update={"signature": identity.sign(advert.signed())})
    return dict(advert.model_dump())


def test_who_is_in_the_sum_must_be_signed_by_enough_before_anything_is_revealed(authority: Authority) -> None:
    """A hub that tells the sites different things gets no shares from any of them."""
    running = Sum(authority, FIVE)
    survivors = running.masked()
    masked = {site: running.said[site, "mask"] for site in survivors}
    four = [site for site in FIVE if site != "east"]
    signed: dict[str, str] = {}
    for site in FIVE:
        view = FIVE if site in ("east", "north", "south") else four
        body = changed(running.hub.agree(masked)[site], sites=view)
        signed[site] = json.loads(running.sites[site].answer("agree", body))["signature"]
    for site, view in (("north", FIVE), ("west", four)):
        body = json.dumps({"context": running.context.model_dump(), "sites": view, "signatures": signed}).encode()
        with pytest.raises(PayloadError, match="sites signed who is in the sum, and 4 must have"):
            running.sites[site].answer("reveal", body)
        other = four if view == FIVE else FIVE
        with pytest.raises(ReplayError, match="another sum than the one that this site signed"):
            running.sites[site].answer("reveal", changed(body, sites=other))


def test_nothing_leaves_that_the_site_does_not_let_out(authority: Authority) -> None:
    noted: list[tuple[str, int, tuple[str, ...]]] = []

    def leaves(step: str, context: Any, others: Any, data: bytes) -> None:
        noted.append((step, context.round, tuple(others)))
        if step == "reveal":
            raise PayloadError("no")

    running = Sum(authority, THREE, leaves=leaves)
    running.agreed(running.masked())
    with pytest.raises(PayloadError, match="no"):
        running.sites["north"].answer("reveal", running.hub.reveal()["north"])
    assert {step for step, _, _ in noted} == {"keys", "shares", "mask", "agree", "reveal"}
    assert ("mask", 0, ("north", "south")) in noted


@pytest.mark.parametrize("step", ["train", "shares", "mask", "agree", "reveal"])
def test_the_hub_refuses_what_is_not_an_answer_to_its_question(authority: Authority, step: Any) -> None:
    running, other = Sum(authority, THREE), Sum(authority, THREE, run="run2")
    running.finish(running.masked())
    other.finish(other.masked())
    for wrong in (b"", b"{}", b"\x00" * 100, other.said["north", step]):
        with pytest.raises(FedSegError):
            running.hub.take(step, "north", wrong)
    if step == "train":
        with pytest.raises(PayloadError, match="sent the keys of 'south'"):
            running.hub.take(step, "north", running.said["south", "train"])


def test_a_masked_update_of_another_length_is_refused(authority: Authority) -> None:
    running = Sum(authority, THREE)
    running.masked()
    short = encode_masked(running.plan, running.context, "north", np.zeros(3, np.uint64))
    with pytest.raises(PayloadError, match="one row of 12 words"):
        running.hub.take("mask", "north", short)


def test_an_update_that_cannot_be_summed_does_not_get_as_far_as_keys(authority: Authority) -> None:
    running = Sum(authority, THREE)
    north = running.sites["north"]
    running.tensors["north"]["b.weight"][0] = 2.0**15
    with pytest.raises(PayloadError):
        north.begin(running.begun, running.update("north"), 1)
    foreign = encode(header(running.plan, site="south", federation_round="run1"), running.tensors["south"])
    with pytest.raises(PayloadError, match="sender"):
        north.begin(running.begun, foreign, 1)


LORA = {f"q{LORA_A}": [2, 5], f"q{LORA_B}": [4, 2]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quorum": 2}, "quorum is 2"),
        ({"secure": {"fewest": 2}}, "secure.fewest"),
        ({"encoding": "int8"}, "encoding 'int8'"),
        ({"encoding": "float16"}, "encoding 'float16'"),
        ({"robust": {"rule": "median", "hostile": 1}}, "looks at single updates"),
        ({"robust": {"clip": 1}}, "looks at single updates"),
        ({"max_payload_bytes": 1000}, "masked updates have"),
    ],
)
def test_a_plan_that_does_not_go_with_sums_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        secure_plan(**changes)


@pytest.mark.parametrize("method", ["fedsca", "gcml"])
def test_a_method_that_needs_single_updates_is_refused(method: str) -> None:
    levels = {"model.0.conv.weight": [2, 3], "model.1.submodule.0.conv.weight": [5]}
    with pytest.raises(PlanError, match="secure"):
        check_methods(secure_plan(method={"name": method}, adapter=levels))


def test_lora_pairs_are_summed_factor_by_factor_or_not_at_all() -> None:
    with pytest.raises(PlanError, match="lora_average=factors"):
        build_method(secure_plan(adapter=LORA))
    for name in ("fedavg", "pfedsam"):
        build_method(secure_plan(adapter=LORA, method={"name": name, "settings": {"lora_average": "factors"}}))
    build_method(secure_plan(method={"name": "fedprox", "settings": {"mu": 0.1}}))
    build_method(secure_plan(method={"name": "fedbn", "settings": {"local": "a.*"}}))


def test_a_plan_without_it_keeps_its_hash() -> None:
    assert "secure" not in plan().as_json()
