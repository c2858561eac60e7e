"""A stranger with more connections than the webhook port has slots shuts Kora out of nothing."""

from __future__ import annotations

import pytest

from flooder import flooding, raise_file_limit
from gateway import StartGateway
from junk_webhooks import CONNECTIONS, junk_webhooks
from webhooks import Kora, event_body

# How many webhooks Kora sends on a connection that she keeps, and as many on a new one each.
WEBHOOKS = 50

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
