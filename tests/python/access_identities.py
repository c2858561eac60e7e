"""Everybody who can come to a gateway: the callers that its file lists, and those that it does not."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from authority import Authority

RIGHTS = ("screen", "subjects", "watch", "raw_json")
TENANTS = ("alpha", "beta")


@dataclass(frozen=True)
class Caller:
    """One that the file lists, known by a token and by a certificate."""

    name: str
    rights: tuple[str, ...]
    tenants: tuple[str, ...]

    @property
    def token(self) -> str:
        return f"token-of-{self.name}"

    @property
    def uri(self) -> str:
        return f"spiffe://bank.example/{self.name}"

    def settings(self, rights: tuple[str, ...]) -> str:
        return (
            f'[[callers]]\nname = "{self.name}"\nsan = ["{self.uri}"]\n'
            f'token_sha256 = ["{hashlib.sha256(self.token.encode()).hexdigest()}"]\n'
            f"tenants = {list(self.tenants)}\nrights = {list(rights)}\n"
        )


@dataclass(frozen=True)
class Identity:
    """What a call shows, and whose it is; `caller` is `None` for whoever is not known."""

    name: str
    channel: grpc.Channel
    authorization: str | None
    caller: Caller | None

    def metadata(self, tenant: str | None) -> list[tuple[str, str]]:
        shown = {"authorization": self.authorization, "x-kora-tenant": tenant}
        return [(key, value) for key, value in shown.items() if value is not None]


def subsets(of: tuple[str, ...], at_least: int) -> Iterator[tuple[str, ...]]:
    return itertools.chain.from_iterable(
        itertools.combinations(of, size) for size in range(at_least, len(of) + 1)
    )


CALLERS = [
    Caller(f"{'-'.join(tenants)}.{'-'.join(rights)}", rights, tenants)
    for tenants in subsets(TENANTS, 1)
    for rights in subsets(RIGHTS, 1)
]


def everybody(address: str, authority: Authority) -> Iterator[Identity]:
    """Nobody, strangers of each kind, and every caller by its token, by its certificate, and by both."""
    first, second, *_ = CALLERS
    bare = authority.connect(address)
    stranger = authority.connect(address, authority.issue("stranger", "URI:spiffe://bank.example/stranger"))
    yield Identity("nobody", bare, None, None)
    yield Identity("a wrong token", bare, "Bearer wrong", None)
    yield Identity("a token in another scheme", bare, f"Basic {first.token}", None)
    yield Identity("a stranger's certificate", stranger, None, None)
    yield Identity("a stranger's certificate, a wrong token", stranger, "Bearer wrong", None)
    yield Identity("a stranger's certificate, a token", stranger, f"Bearer {second.token}", second)
    for caller in CALLERS:
        token = f"Bearer {caller.token}"
        certain = authority.connect(address, authority.issue(caller.name, f"URI:{caller.uri}"))
        yield Identity(f"the token of {caller.name}", bare, token, caller)
        yield Identity(f"the certificate of {caller.name}", certain, None, caller)
        yield Identity(f"both of {caller.name}", certain, token, caller)
        if caller == first:
            yield Identity("a certificate, a wrong token", certain, "Bearer wrong", None)
            yield Identity("a certificate, another's token", certain, f"Bearer {second.token}", None)
