"""A process with many subscribers: ADDRESS STREAMS EVENTS.

It says `open` when all streams are, then for each stream a hash of the events that it got and their order, once
it got them all.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.watch_events_pb2 import START_POSITION_LATEST, WatchEventsRequest

from program import PATIENCE

# Each stream has a connection of its own, and no proxy variable sends it elsewhere.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]


def order(ids: Iterable[str]) -> str:
    """Tells one order of events from any other."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def follow(address: str, count: int, all_open: threading.Barrier) -> str:
    with grpc.insecure_channel(address, OPTIONS) as channel:
        request = WatchEventsRequest(position=START_POSITION_LATEST, include_raw_json=True)
        stream = ComplianceServiceStub(channel).WatchEvents(request)
        assert next(stream).HasField("opened")
        if all_open.wait(PATIENCE) == 0:
            print("open", flush=True)
        ids: list[str] = []
        while len(ids) < count:
            ids += [event.event_id for event in next(stream).events]
        return order(ids)


def main() -> None:
    address, streams, events = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    all_open = threading.Barrier(streams)
    with ThreadPoolExecutor(streams) as threads:
        followers = [threads.submit(follow, address, events, all_open) for _ in range(streams)]
        for follower in followers:
            print(follower.result(), flush=True)


if __name__ == "__main__":
    main()
