"""What secure aggregation costs: seconds at a site and at the hub, and bytes, against plain updates.

    make bench-secure                      a minute; writes bench/results/secure.json and .md
    make bench-secure ARGS="--tenseal PYTHON"   homomorphic encryption beside it, by a Python that has TenSEAL:
                                           python3.11 -m venv DIR && DIR/bin/pip install tenseal numpy

The two ends of a secure sum without a network between them, for as many numbers as the default U-Net's adapter
has. Seconds are of CPU time, so that what else runs on the machine matters little; best of ``TIMES``. Those of a site
are of one site, all steps together; those of the hub for all sites.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from nvflare.lighter.utils import Identity as Subject
from nvflare.lighter.utils import generate_cert

from fed_backend.flare.provisioning import organisation
from fed_backend.payload import PayloadHeader, Tensors, encode
from fed_backend.plan import Plan, parse_plan
from fed_backend.secure.fixed_point import STEP, mean_of
from fed_backend.secure.hub import SecureSum
from fed_backend.secure.roster import Context, Identity
from fed_backend.secure.site import SecureSite
from fed_backend.secure.wire import STEPS

RESULTS = Path(__file__).resolve().parent / "results"
NUMBERS = 402_761
ROSTERS = (3, 5, 10, 30)
TIMES = 3
PEM = serialization.Encoding.PEM


def identities(sites: Sequence[str]) -> list[Identity]:
    """Certified sites of one federation."""
    root = rsa.generate_private_key(65537, 2048)

    def certify(name: str, org: str | None, key: rsa.RSAPrivateKey) -> bytes:
        made = generate_cert(Subject(name, org), Subject("federation"), root, key.public_key(), ca=org is None)
        return bytes(made.public_bytes(PEM))

    authority, found = certify("federation", None, root), []
    for site in sites:
        key = rsa.generate_private_key(65537, 2048)
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        found.append(Identity(site, certify(site, organisation(site), key), private, authority))
    return found


class Round:
    """One round; what each end takes is summed in ``seconds``, what moves in ``up`` and ``down`` (bytes of a site)."""

    def __init__(self, plan: Plan, members: Sequence[Identity], lost: int) -> None:
        self.plan, self.lost = plan, {member.site for member in members[:lost]}
        self.begun = encode(self._header("global", "hub"), {})
        self.start = hashlib.sha256(self.begun).hexdigest()
        context = Context(plan_sha256=plan.sha256, run="run", round=0, attempt=1, start_sha256=self.start)
        self.hub = SecureSum(plan, context, plan.adapter, members[0].root)
        self.sites = {member.site: SecureSite(member, plan, lambda *_: None) for member in members}
        self.tensors = {site: trained(plan, number) for number, site in enumerate(self.sites)}
        self.updates = {site: encode(self._header("update", site), self.tensors[site]) for site in self.sites}
        self.seconds = {"site": 0.0, "hub": 0.0}
        self.measured = list(self.sites)[-1]
        self.up, self.down = 0, 0

    def _header(self, kind: Any, site: str) -> PayloadHeader:
        parent = self.start if kind == "update" else ""
        return PayloadHeader(
            kind=kind,
            plan_sha256=self.plan.sha256,
            base_sha256=self.plan.base_sha256,
            site=site,
            federation_round="run",
            round=0,
            method="fedavg",
            examples=7 if kind == "update" else 0,
            parent_sha256=parent,
        )

    def run(self) -> Tensors:
        answers = {site: self._at(site, lambda s=site: self._begin(s)) for site in self.sites}
        for step in STEPS:
            bodies = self._at_hub(lambda s=step, a=answers: self._next(s, a))
            self.down += len(bodies[self.measured])
            answering = [site for site in bodies if step == "shares" or site not in self.lost]
            answers = {s: self._at(s, lambda s=s, b=bodies[s], t=step: self.sites[s].answer(t, b)) for s in answering}
        return self._at_hub(lambda: self._total(answers))

    def _begin(self, site: str) -> bytes:
        return self.sites[site].begin(self.begun, self.updates[site], 1)

    def _next(self, step: str, answers: dict[str, bytes]) -> dict[str, bytes]:
        before = dict(zip(STEPS, ("train", *STEPS), strict=False))[step]
        for site, answer in answers.items():
            self.hub.take(before, site, answer)
        if step == "agree":
            return self.hub.agree(answers)
        return self.hub.reveal() if step == "reveal" else getattr(self.hub, step.removesuffix("s"))(list(answers))

    def _total(self, answers: dict[str, bytes]) -> Tensors:
        for site, answer in answers.items():
            self.hub.take("reveal", site, answer)
        return mean_of(self.hub.total(), self.plan.adapter)[0]

    def _at(self, site: str, work: Callable[[], bytes]) -> bytes:
        began = time.process_time()
        answer = work()
        if site == self.measured:
            self.seconds["site"] += time.process_time() - began
            self.up += len(answer)
        return answer

    def _at_hub(self, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = work()
        self.seconds["hub"] += time.process_time() - began
        return result


def trained(plan: Plan, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in plan.adapter.items()}


def measure(count: int, lost: int) -> dict[str, Any]:
    """Seconds and bytes of a round with ``count`` sites, of which ``lost`` vanish after they shared their secrets."""
    plan = parse_plan(
        {
            "base_sha256": "ab" * 32,
            "adapter": {"w": [NUMBERS]},
            "labels": {"tumour": 1},
            "quorum": 3,
            "secure": {"fewest": 3},
        }
    )
    members = identities([f"site{number:02}" for number in range(count)])
    rounds = [Round(plan, members, lost) for _ in range(TIMES)]
    for one in rounds:
        mean = one.run()["w"]
        exact = np.mean([one.tensors[site]["w"].astype(float) for site in one.sites if site not in one.lost], axis=0)
        off = float(np.abs(mean - exact).max())
        assert off <= STEP + np.spacing(np.float32(np.abs(exact).max())), off
    plain = len(rounds[0].updates[rounds[0].measured])
    return {
        "sites": count,
        "lost": lost,
        "site_seconds": round(min(one.seconds["site"] for one in rounds), 3),
        "hub_seconds": round(min(one.seconds["hub"] for one in rounds), 3),
        "bytes_up": rounds[0].up,
        "bytes_down_beside_the_aggregate": rounds[0].down,
        "plain_bytes_up": plain,
        "ratio_up": round(rounds[0].up / plain, 2),
        "largest_error": off,
    }


def tenseal(python: str) -> dict[str, Any]:
    """The same numbers under homomorphic encryption, measured by another interpreter."""
    script = Path(__file__).with_name("secure_tenseal.py")
    done = subprocess.run([python, str(script), str(NUMBERS)], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def table(data: dict[str, Any]) -> str:
    head = (
        "sites",
        "lost",
        "a site, s",
        "the hub, s",
        "up from a site, MB",
        "plain, MB",
        "ratio",
        "down to a site, kB",
    )
    lines = [
        f"Secure aggregation of {data['numbers']} numbers, {data['cores']} core(s); `make bench-secure`.",
        f"Seconds of CPU time, best of {TIMES}.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for row in data["rounds"]:
        moved = [f"{row[key] / 1e6:.2f}" for key in ("bytes_up", "plain_bytes_up")]
        down = f"{row['bytes_down_beside_the_aggregate'] / 1e3:.1f}"
        cells = (row["sites"], row["lost"], row["site_seconds"], row["hub_seconds"], *moved, row["ratio_up"], down)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if other := data.get("tenseal"):
        lines += [
            "",
            f"TenSEAL {other['version']} (CKKS, {other['degree']} coefficients) on the same numbers: "
            f"{other['encrypt_seconds']} s to encrypt, {other['bytes'] / 1e6:.1f} MB from a site, "
            f"{other['add_seconds']} s "
            f"to add {other['sites']} at the hub, {other['decrypt_seconds']} s to decrypt; "
            f"largest error {other['largest_error']:.1e}.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenseal", metavar="PYTHON", help="a Python interpreter that has TenSEAL and numpy")
    asked = parser.parse_args()
    data: dict[str, Any] = {"numbers": NUMBERS, "cores": len(os.sched_getaffinity(0))}
    data["rounds"] = [measure(count, 0) for count in ROSTERS] + [measure(count, 1) for count in ROSTERS[1:]]
    if asked.tenseal:
        data["tenseal"] = tenseal(asked.tenseal)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "secure.json").write_text(json.dumps(data, indent=2) + "\n")
    (RESULTS / "secure.md").write_text(table(data))
    print(table(data))


if __name__ == "__main__":
    main()
