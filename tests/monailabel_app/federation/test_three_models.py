"""FedSM at a site: three models are trained, the selector routes, and everything passes the gate first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from sites import LABELS, UNET, SiteOnDisk, payload, unet_plan, volume

from fed_backend.errors import PlanError
from fed_backend.methods.fedsm import GLOBAL, PERSONAL, SELECTOR, SELECTOR_STEPS, fedsm_layout
from fed_backend.objectives.selector import selector_shapes
from fed_backend.payload import Tensors
from fed_backend.plan import Plan
from monailabel_app.federation.halves import half_of
from monailabel_app.federation.routed import RoutedSegmenter
from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.service import Inference
from monailabel_app.models.adapter import BESIDE
from monailabel_app.models.registry import build_segmenter

pytestmark = pytest.mark.slow

SITES = ("north", "south", "west")
CASES = {"t1": "train", "t2": "train", "v1": "validation"}


@cache
def names() -> dict[str, tuple[int, ...]]:
    """The tensors of one model."""
    return build_segmenter(UNET, LABELS).adapter_shapes()


@cache
def plan() -> Plan:
    layout = fedsm_layout(names(), selector_shapes(len(SITES)))
    return unet_plan("fedsm", {"sites": ",".join(SITES)}, adapter=layout)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteOnDisk]:
    made = SiteOnDisk(tmp_path_factory.mktemp("fedsm"), "north", plan(), CASES)
    made.allow_anything()
    yield made
    made.state.close()


@pytest.fixture(scope="module")
def sent(site: SiteOnDisk) -> Tensors:
    return site.train(payload(plan(), "global"))[1]


def routing_to(sent: Tensors, wanted: str, *, common: float = 0.0) -> Tensors:
    """The site's own tensors with a selector that is sure of one site, and another global model."""
    changed = {name: tensor.copy() for name, tensor in sent.items()}
    changed[SELECTOR + "head.bias"][:] = -20
    changed[SELECTOR + "head.bias"][SITES.index(wanted)] = 20
    for name in changed:
        if name.startswith(GLOBAL):
            changed[name] += np.float32(common)
    return changed


def test_a_round_trains_two_models_and_moves_the_selector(site: SiteOnDisk, sent: Tensors) -> None:
    assert sent.keys() == plan().adapter.keys()
    base = site.champion()
    for name in names():
        assert not np.array_equal(sent[GLOBAL + name], sent[PERSONAL + name]), name
        assert not np.array_equal(sent[GLOBAL + name], base[name]), name
    assert sent[SELECTOR_STEPS].tolist() == [1.0]
    again = site.train(payload(plan(), "global"))[1]
    assert all(np.array_equal(sent[name], again[name]) for name in sent)


def test_each_model_goes_on_from_its_own_tensors(site: SiteOnDisk, sent: Tensors) -> None:
    apart = {name: tensor + np.float32(0.5) if name.startswith(PERSONAL) else tensor for name, tensor in sent.items()}
    _, trained = site.train(payload(plan(), "global", apart, run="apart", round_=1))
    for name in apart:
        if name.startswith((GLOBAL, PERSONAL)):
            np.testing.assert_allclose(trained[name], apart[name], atol=0.2, err_msg=name)
    assert trained[SELECTOR_STEPS].tolist() == [2.0], "the selector's optimiser goes on, too"


@pytest.mark.parametrize(("better", "answers"), [("personal", "personal"), ("global", "global")])
def test_the_threshold_follows_the_sites_validation_cases(sent: Tensors, better: str, answers: str) -> None:
    """The selector is sure of this site; whether its personal model may answer, the validation cases decide."""
    prefix = PERSONAL if better == "personal" else GLOBAL
    name = next(iter(names()))
    image, _ = volume("case")
    cases = {"v1": Volume(image, np.diag([1.0, 1.0, 3.0, 1.0]))}
    tensors = routing_to(sent, "north")

    def score(model: Tensors) -> dict[str, float]:
        return {"v1": 0.9 if np.array_equal(model[name], tensors[prefix + name]) else 0.5}

    version = half_of(plan(), "north").version(tensors, cases, score)
    routed = RoutedSegmenter(build_segmenter(UNET, LABELS))
    routed.load_adapter(version)
    routed.segment(cases["v1"])
    assert routed.answer is not None
    assert routed.answer.model == answers


@pytest.mark.parametrize(("likeliest", "model"), [("north", "personal"), ("west", "global")])
def test_the_selector_routes_and_the_answer_says_so(
    site: SiteOnDisk, sent: Tensors, likeliest: str, model: str
) -> None:
    run = f"routes-{likeliest}"
    tensors = routing_to(sent, likeliest, common=0.2)
    result = site.job("offer", payload(plan(), "aggregate", tensors, run=run))
    assert result["promoted"], result
    store = site.state.versions("unet")
    image = site.state.studies / "v1.nii.gz"
    served = Inference({"unet": RoutedSegmenter(build_segmenter(UNET, LABELS))}, site.state.versions)
    done = served.infer("unet", image)
    assert done.version == store.champion()
    assert done.answer is not None
    assert (done.answer.model, SITES[done.answer.likeliest]) == (model, likeliest)
    assert done.answer.confidence > 0.99
    alone = build_segmenter(UNET, LABELS)
    prefix = PERSONAL if model == "personal" else GLOBAL
    alone.load_adapter({name: tensors[prefix + name] for name in names()})
    np.testing.assert_array_equal(done.labelmap, alone.segment(read_volume(image)))


def test_the_gate_judges_the_routed_answer(site: SiteOnDisk, sent: Tensors) -> None:
    """The personal model is fine, the global one finds nothing: what counts is who would answer."""
    good, bad = dict(sent), dict(sent)
    head = next(name for name in names() if name.startswith("model.2") and name.endswith("bias"))
    for name, shape in names().items():
        bad[GLOBAL + name] = np.zeros(shape, np.float32)
    bad[GLOBAL + head] = np.asarray([9.0, -9.0], np.float32)[: names()[head][0]]
    answers = {}
    for likeliest in ("north", "west"):
        tensors = {**routing_to(bad, likeliest), SELECTOR_STEPS: good[SELECTOR_STEPS]}
        result = site.job("evaluate", payload(plan(), "aggregate", tensors, run=f"judged-{likeliest}"))
        answers[likeliest] = result["dice_challenger"]
    assert answers["west"] == 0.0
    assert answers["north"] > 0.0


def test_learning_goes_on_from_the_personal_model(site: SiteOnDisk, sent: Tensors) -> None:
    site.job("offer", payload(plan(), "aggregate", routing_to(sent, "north"), run="then-learn"))
    champion = site.champion()
    assert any(name.startswith(BESIDE) for name in champion)
    np.testing.assert_array_equal(champion[next(iter(names()))], sent[PERSONAL + next(iter(names()))])
    result = site.job("learn", steps=1)
    learned = site.version(result["version"])
    assert learned.keys() == names().keys(), "one model again"


def test_a_site_that_the_selector_does_not_know_cannot_take_part() -> None:
    with pytest.raises(PlanError, match="no class for site 'east'"):
        half_of(plan(), "east")
