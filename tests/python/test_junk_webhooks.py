"""A stranger who fills the slots or the memory of a port shuts out nobody whom the port is for."""

from __future__ import annotations

import itertools
import time

import pytest

from flooder import flooding, raise_file_limit
from gateway import StartGateway
from junk_webhooks import CONNECTIONS, junk_webhooks
from memory_webhooks import unfinished_webhooks
from webhooks import Kora, event_body

# How many webhooks Kora sends on a connection that she keeps, and as many on a new one each.
WEBHOOKS = 20

# How many are large, and how large: more than what every body may have.
LARGE_WEBHOOKS = 10
LARGE_BYTES = 256 << 10

# How long one of them may take, in seconds. Bodies that never end keep their memory for 10 s.
LARGE_PATIENCE = 5.0

RESULTS = "kora_gateway_webhooks_total"
UNOPENED = "kora_gateway_connections_unopened_total"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_junk_signatures_do_not_shut_kora_out(start_gateway: StartGateway, address: str) -> None:
    """Kora comes from an address of her own, and from one of the stranger's, as all do behind a proxy."""
    raise_file_limit()
    gateway = start_gateway(env={"RUST_LOG": "info"})
    kept = Kora(gateway.addresses["webhook"], source=address)
    assert kept.deliver(event_body("evt_first")).status == 200
    with flooding(junk_webhooks(enough=2 * CONNECTIONS), gateway.addresses["webhook"]) as flood:
        # A connection that was closed would raise: http.client opens none by itself after that.
        for number in range(WEBHOOKS):
            assert kept.deliver(event_body(f"evt_kept_{number}")).status == 200
            new = Kora(gateway.addresses["webhook"], source=address)
            assert new.deliver(event_body(f"evt_new_{number}")).status == 200
            new.close()
        flood.stop()
    kept.close()
    assert gateway.count(UNOPENED, listener="webhook", reason="evicted") > 0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_large_bodies_that_never_end_take_no_memory_from_kora(start_gateway: StartGateway, address: str) -> None:
    raise_file_limit()
    gateway = start_gateway(env={"RUST_LOG": "info"})
    kept = Kora(gateway.addresses["webhook"], source=address)
    assert kept.deliver(event_body("evt_first")).status == 200
    with flooding(unfinished_webhooks(["127.0.0.2", "127.0.0.3"]), gateway.addresses["webhook"]) as flood:
        # Until a stranger was evicted, Kora lacked no memory yet.
        numbers = itertools.count()
        while (number := next(numbers)) < LARGE_WEBHOOKS or not gateway.count(RESULTS, result="overloaded"):
            new = Kora(gateway.addresses["webhook"], source=address)
            for name, kora in (("kept", kept), ("new", new)):
                began = time.monotonic()
                assert kora.deliver(event_body(f"evt_{name}_{number}", filling="x" * LARGE_BYTES)).status == 200
                assert time.monotonic() - began < LARGE_PATIENCE
            new.close()
        flood.stop()
    kept.close()
