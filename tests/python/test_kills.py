"""A gateway that is killed at any moment loses nothing that it said 200 to, and shows nothing twice.

The numbers of a longer run come from the environment: `KILLS_EVENTS=20000 KILLS=20`.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from follower import Follower
from gateway import StartGateway
from load import Load
from restarts import Phoenix
from webhooks import CONNECTIONS, read_past

EVENTS = int(os.environ.get("KILLS_EVENTS", "2000"))
KILLS = int(os.environ.get("KILLS", "5"))

# A kill comes up to so many seconds after the 200 that it waits for: at any moment of the next commits.
SPREAD = 0.02


def moments() -> list[int]:
    """After how many 200s to kill: each at random in its share of the load, none at its ends."""
    share = EVENTS // (KILLS + 2)
    assert share > 4 * CONNECTIONS, "too few events for so many kills"
    return [share * (n + 1) + random.randrange(-share // 4, share // 4) for n in range(KILLS)]


def kill_in_the_load(phoenix: Phoenix, load: Load, follower: Follower, moment: int) -> None:
    load.wait_for(moment)
    time.sleep(random.uniform(0, SPREAD))
    load.wait_for(moment)
    load.hold()
    before = load.acknowledged
    phoenix.kill()
    assert moment <= before < EVENTS
    phoenix.rise()
    # Then it follows live from the first event of this life on.
    follower.wait_for_stream(phoenix.lives)
    load.go_on()


def test_every_event_that_got_its_200_is_in_the_feed_once_and_in_order(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    phoenix = Phoenix(start_gateway, f"file:{tmp_path / 'data'}", env={"RUST_LOG": "info"})
    follower, restless = Follower(phoenix.wait_until_up), Follower(phoenix.wait_until_up, restless=True)
    start = time.monotonic()
    with Load([phoenix.addresses["webhook"]], EVENTS) as load:
        for moment in moments():
            kill_in_the_load(phoenix, load, follower, moment)
        load.finish()
    took = time.monotonic() - start
    for one in (follower, restless):
        one.wait_for(EVENTS)
        one.stop()
    assert phoenix.lives == KILLS + 1
    # Each kill came while something was on its way.
    assert load.cut >= KILLS

    log = read_past(phoenix.gateway.stub).ids
    assert read_past(phoenix.gateway.stub).ids == log
    assert list(follower.ids) == list(restless.ids) == log
    assert sorted(log) == sorted(event_id for share in load.delivered for event_id in share)
    place = {event_id: index for index, event_id in enumerate(log)}
    for share in load.delivered:
        # What got its 200 first has the earlier place.
        assert sorted(share, key=place.__getitem__) == share
    assert len(follower.streams) == KILLS + 1
    for stream in filter(None, follower.streams + restless.streams):
        assert [place[event_id] for event_id in stream] == list(range(*span(stream, place)))
    print(
        f"{EVENTS} events, {KILLS} kills, {load.cut} deliveries cut, "
        f"{len(restless.streams)} streams resumed, {follower.doubles + restless.doubles} doubles removed, "
        f"{EVENTS / took:.0f} events/s"
    )


def span(stream: list[str], place: dict[str, int]) -> tuple[int, int]:
    """The part of the log that a stream must have sent: from its first event on, without a hole."""
    first = place[stream[0]]
    return first, first + len(stream)
