"""A small recorded result, as a run makes it."""

from __future__ import annotations

import numpy as np

from fed_backend.demo.generator import SCANNERS, make_case
from fed_backend.demo.results import Annotation, RoundResult, RunResult, SiteResult
from fed_backend.demo.slices import make_overlay, slice_axis, worst_slice


def recorded_result(sites: int = 3, rounds: int = 4) -> RunResult:
    rng = np.random.default_rng(0)
    overlays, annotations, results = [], {}, []
    for number, scanner in enumerate(SCANNERS[:sites]):
        case = make_case(scanner, number, seed=0)
        shifted = np.roll(case.label, 4, axis=0)
        empty = np.zeros_like(case.label)
        index, wrong = worst_slice(shifted, case.label, slice_axis(case.image.shape, case.affine))
        arguments = (scanner.name, case.name)
        stages = [("base", empty), ("after local learning", shifted), ("after federation", case.label)]
        shown = [*stages, ("truth", case.label)]
        overlays.append(make_overlay(*arguments, "test", case.image, case.label, shown, case.affine, index))
        made = [("automatic", empty), ("prompted", shifted), ("final", case.label)]
        picture = make_overlay(*arguments, "annotation", case.image, case.label, made, case.affine, index)
        overlays.append(picture)
        annotations[scanner.name] = [Annotation(case.name, "train", 0.0, 0.0, 0.7, wrong, picture)]
        cases = [f"{scanner.name}-{n:02d}" for n in range(9, 12)]
        dice = {
            stage: dict(zip(cases, np.clip(rng.normal(mean, 0.06, 3), 0, 1).tolist(), strict=True))
            for stage, mean in (("before", 0.04), ("local", 0.62), ("federated", 0.8))
        }
        reasons = [("unet-0001-aa", "base"), ("unet-0002-bb", "Dice 0.62 is not below 0.04 <b>")]
        results.append(SiteResult(scanner.name, dice, 3, 2, 1_900_000 + number, 41.5, reasons))
    names = [site.name for site in results]
    history = [
        RoundResult(n + 1, 9.3, 1_423_000, 1_422_000, {name: 0.6 + 0.05 * n + 0.02 * len(name) - 0.1 for name in names})
        for n in range(rounds)
    ]
    return RunResult(
        engine="nvflare",
        mutual_tls=True,
        method="fedavg",
        model="unet",
        seed=0,
        sites=results,
        rounds=history,
        seconds_total=243.2,
        threshold_baseline=0.158,
        settings=[("data", "generated volumes"), ("local learning", "120 steps")],
        annotations=annotations,
        overlays=overlays,
    )
