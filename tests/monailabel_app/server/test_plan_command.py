"""``fedseg plan create``, ``show`` and ``approve``."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fed_backend.plan import Plan, load_plan, save_plan
from monailabel_app.cli import plan
from monailabel_app.federation.consent import Consent
from monailabel_app.models.registry import build_segmenter
from monailabel_app.state.audit import AuditLog
from monailabel_app.state.database import Database


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(plan, [str(a) for a in arguments])


@pytest.mark.parametrize("model", ["unet", "sam"])
def test_a_plan_lists_what_its_model_sends(tmp_path: Path, model: str) -> None:
    out = tmp_path / "plan.json"
    result = run(
        "create", "--model", model, "--labels", "tumour=1,oedema=2", "--out", out, "--rounds", "5", "--steps", "7"
    )
    assert result.exit_code == 0, result.output
    made = load_plan(out)
    segmenter = build_segmenter(made.model, made.labels)
    assert made.base_sha256 == segmenter.base_sha256
    assert made.adapter == segmenter.adapter_shapes()
    assert (made.rounds, made.training.steps, made.labels) == (5, 7, {"tumour": 1, "oedema": 2})
    assert made.sha256 in result.output
    assert "MiB" in result.output


def test_equal_options_give_equal_plans_and_the_seed_counts(tmp_path: Path) -> None:
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.json"
        assert run("create", "--model", "unet", "--labels", "t=1", "--out", path, "--seed", str(seed)).exit_code == 0
        hashes.append(load_plan(path).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_robust_aggregation_is_written_shown_and_its_start_lies_beside_the_plan(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    asked = ("--quorum", "3", "--robust", "trimmed_mean:hostile=1;clip=5")
    assert run("create", "--model", "unet", "--labels", "t=1", "--out", out, *asked).exit_code == 0
    shown = run("show", out).output
    assert "trimmed_mean that bears 1 hostile site(s), changes scaled down to norm 5, every site counts once" in shown
    assert (tmp_path / "plan.start.safetensors").is_file()
    refused = run("create", "--model", "unet", "--labels", "t=1", "--out", out, "--robust", "krum:hostile=1")
    assert refused.exit_code == 2
    assert "needs 5 updates, and quorum is 1" in refused.output


def test_a_plan_with_privacy_says_what_its_rounds_cost(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    asked = ("--rounds", "2", "--privacy", "clip=1;noise=2;epsilon=8")
    assert run("create", "--model", "unet", "--labels", "t=1", "--out", out, *asked).exit_code == 0
    shown = run("show", out).output
    assert "noise of deviation 4 (multiplier 2), delta 1e-05, at most epsilon 8; 2 round(s) cost epsilon 3." in shown


def test_only_the_named_tensors_travel(tmp_path: Path) -> None:
    everything, part = tmp_path / "all.json", tmp_path / "part.json"
    run("create", "--model", "unet", "--labels", "t=1", "--out", everything)
    names = sorted(load_plan(everything).adapter)
    prefix = names[0].rpartition(".")[0]
    assert run("create", "--model", "unet", "--labels", "t=1", "--out", part, "--travels", prefix).exit_code == 0
    assert set(load_plan(part).adapter) == {n for n in names if n.startswith(prefix)} < set(names)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--labels", "t=0"], "label 't=0'"),
        (["--labels", "t=1", "--method", "magic"], "no method 'magic'"),
        (["--labels", "t=1", "--travels", "nothing.like.it"], "'nothing.like.it'"),
        (["--labels", "t=1", "--base", "sam_tiny"], "model 'unet' has base 'unet'"),
        (["--labels", "t=1", "--learning-rate", "-1"], "training.learning_rate"),
        (["--labels", "t=1", "--checkpoint", "nowhere.pth"], "checkpoint 'nowhere.pth'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, options: list[str], said: str) -> None:
    result = run("create", "--model", "unet", "--out", tmp_path / "plan.json", *options)
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "plan.json").exists()


def test_show(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    run("create", "--model", "unet", "--labels", "t=1", "--out", out)
    assert load_plan(out).sha256 in run("show", out).output
    assert json.loads(run("show", out, "--json").output)["sha256"] == load_plan(out).sha256
    out.write_text("{}")
    assert run("show", out).exit_code == 2


def test_a_plan_may_hide_single_updates_from_the_hub(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    asked = ("create", "--model", "unet", "--labels", "t=1", "--out", out, "--secure", 4)
    refused = run(*asked)
    assert (refused.exit_code, "quorum is 1" in refused.output) == (2, True)
    made = run(*asked, "--quorum", 4)
    assert made.exit_code == 0, made.output
    assert "sums of 4 updates or more" in made.output
    plain, up = (
        run("create", "--model", "unet", "--labels", "t=1", "--out", tmp_path / "other.json"),
        r"about (\S+) MiB",
    )
    assert float(re.findall(up, made.output)[0]) == pytest.approx(2 * float(re.findall(up, plain.output)[0]), abs=0.02)


def test_an_administrator_approves_a_plan_that_was_shown(tmp_path: Path) -> None:
    file, state = tmp_path / "plan.json", tmp_path / "state"
    made = Plan(base_sha256="b" * 64, adapter={"w": (2, 3)}, labels={"t": 1})
    save_plan(made, file)
    declined = CliRunner().invoke(plan, ["approve", str(file), "--state", str(state)], input="n\n")
    assert declined.exit_code == 1
    assert made.sha256 in declined.output
    assert not state.exists()
    assert CliRunner().invoke(plan, ["approve", str(file), "--state", str(state)], input="y\n").exit_code == 0
    with closing(Database(state / "site.sqlite")) as database:
        assert Consent(database).of(made) is not None
        assert Consent(database).of(made.model_copy(update={"rounds": 99})) is None
    assert "no longer approved" in run("approve", file, "--state", state, "--withdraw").output
    with closing(Database(state / "site.sqlite")) as database:
        assert Consent(database).of(made) is None
        assert [entry.event for entry in AuditLog(database).list()] == ["approved", "withdrawn"]
