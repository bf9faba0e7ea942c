"""A federation's sites with certificates, and a secure sum of theirs, message by message."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from builders import header, plan
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from nvflare.lighter.utils import Identity as Subject
from nvflare.lighter.utils import generate_cert

from fed_backend.flare.provisioning import organisation
from fed_backend.payload import PayloadHeader, Tensors, encode
from fed_backend.plan import Plan
from fed_backend.secure.hub import SecureSum
from fed_backend.secure.roster import Context, Identity
from fed_backend.secure.site import SecureSite

PEM = serialization.Encoding.PEM


def secure_plan(**changes: Any) -> Plan:
    return plan(
        **{
            "secure": {"fewest": 3},
            "quorum": 3,
            "adapter": {"a.weight": [2, 3], "b.weight": [5]},
            **changes,
        }
    )


class Authority:
    """Signs; its root is what everybody knows."""

    def __init__(self, sites: list[str]) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self.root = self.certify("federation", None, None, self._key)
        self.identities = {site: self.identity(site, organisation(site)) for site in sites}

    def certify(self, name: str, org: str | None, role: str | None, key: rsa.RSAPrivateKey) -> x509.Certificate:
        signed = generate_cert(
            Subject(name, org, role), Subject("federation"), self._key, key.public_key(), ca=name == "federation"
        )
        assert isinstance(signed, x509.Certificate)
        return signed

    def identity(self, site: str, org: str, role: str | None = None) -> Identity:
        key = rsa.generate_private_key(65537, 2048)
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        certificate = self.certify(site, org, role, key).public_bytes(PEM)
        return Identity(site, certificate, private, self.root.public_bytes(PEM))


class Sum:
    """A hub and sites; ``said`` holds what left each site, by (site, step), and ``told`` what the hub sent."""

    def __init__(
        self,
        authority: Authority,
        sites: Collection[str],
        of: Plan | None = None,
        *,
        run: str = "run1",
        attempt: int = 1,
        leaves: Callable[..., None] = lambda *_: None,
        members: dict[str, SecureSite] | None = None,
    ) -> None:
        self.plan = of or secure_plan()
        self.begun = encode(header(self.plan, kind="global", site="hub", federation_round=run, examples=0), {})
        self.sites = members or {
            site: SecureSite(authority.identities[site], self.plan, leaves) for site in sorted(sites)
        }
        self.tensors = {site: self._trained(number) for number, site in enumerate(self.sites, start=1)}
        self.examples = {site: number for number, site in enumerate(self.sites, start=1)}
        self.context = Context(
            plan_sha256=self.plan.sha256,
            run=run,
            round=0,
            attempt=attempt,
            start_sha256=hashlib.sha256(self.begun).hexdigest(),
        )
        self.hub = SecureSum(self.plan, self.context, self.plan.adapter, authority.root)
        self.said: dict[tuple[str, str], bytes] = {}
        self.told: dict[str, dict[str, bytes]] = {}

    def _trained(self, seed: int) -> Tensors:
        rng = np.random.default_rng(seed)
        return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in self.plan.adapter.items()}

    def update(self, site: str) -> bytes:
        told: PayloadHeader = header(
            self.plan,
            site=site,
            federation_round=self.context.run,
            examples=self.examples[site],
            parent_sha256=self.context.start_sha256,
        )
        return encode(told, self.tensors[site])

    def keys(self) -> list[str]:
        """Everybody has trained and sends keys."""
        for site, member in self.sites.items():
            self.said[site, "train"] = member.begin(self.begun, self.update(site), self.context.attempt)
            self.hub.take("train", site, self.said[site, "train"])
        return list(self.sites)

    def step(self, step: Any, bodies: dict[str, bytes], lost: Collection[str] = ()) -> list[str]:
        """Ask for a step; who is lost does not answer. Returns who did."""
        self.told[step] = bodies
        answered = [site for site in bodies if site not in lost]
        for site in answered:
            self.said[site, step] = self.sites[site].answer(step, bodies[site])
            self.hub.take(step, site, self.said[site, step])
        return answered

    def masked(self, *, unshared: Collection[str] = (), unmasked: Collection[str] = ()) -> list[str]:
        """As far as the masked updates; returns whose are there."""
        sharing = self.step("shares", self.hub.share(self.keys()), unshared)
        return self.step("mask", self.hub.mask(sharing), unmasked)

    def agreed(self, survivors: Collection[str], silent: Collection[str] = ()) -> list[str]:
        return self.step("agree", self.hub.agree({site: self.said[site, "mask"] for site in survivors}), silent)

    def finish(self, survivors: Collection[str], silent: Collection[str] = ()) -> np.ndarray:
        self.agreed(survivors, silent)
        self.step("reveal", self.hub.reveal(), silent)
        return self.hub.total()

    def weighted(self, sites: Collection[str]) -> Tensors:
        """The plain weighted mean, in float64."""
        count = sum(self.examples[site] for site in sites)
        return {
            name: sum(self.tensors[site][name].astype(np.float64) * self.examples[site] for site in sites) / count
            for name in self.plan.adapter
        }
