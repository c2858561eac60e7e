"""The subscribers: streams with and without filters, which leave now and then and come back with their resume token."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized

import grpc
from kora.compliance.v1.compliance_service_pb2_grpc import ComplianceServiceStub
from kora.compliance.v1.watch_events_pb2 import START_POSITION_LATEST, EventFilter, WatchEventsRequest

from flooder import raise_file_limit
from mixed_run.sender import SUBJECTS
from program import PATIENCE

# How many streams have no filter: the first of them is the one that the others are compared with.
UNFILTERED = 4

# How many streams share a connection.
STREAMS_PER_CONNECTION = 50

# How long a stream stays before it leaves, and how long it stays away, in seconds.
STAY = (20.0, 120.0)
AWAY = (0.0, 5.0)

# How long one rests before it comes back after an error, in seconds.
RETRY_AFTER = 0.25

SPAWNED = multiprocessing.get_context("spawn")


@dataclass
class Read:
    """What the subscribers know at the end."""

    # The numbers of all events, in the log's order, as the first stream read them.
    log: list[int] = field(default_factory=list)
    # What is wrong with the others, each a sentence.
    faults: list[str] = field(default_factory=list)
    # How streams ended, and how many events all of them got.
    ends: Counter[str] = field(default_factory=Counter)
    events: int = 0


class Readers:
    """The process that the subscribers are. All of their streams are open when this returns."""

    def __init__(self, address: str, streams: int) -> None:
        # From this number on each subject has one last event; 0 as long as nobody knows.
        self._last_round = SPAWNED.Value("q", 0)
        self._results, sending = SPAWNED.Pipe(duplex=False)
        self._process = SPAWNED.Process(target=_run, args=(address, streams, self._last_round, sending))
        self._process.start()
        sending.close()
        assert self._results.poll(8 * PATIENCE), "the streams do not open"
        assert self._results.recv() == "open"

    def stop(self, last_round: int) -> Read:
        """Waits until every stream has the last event of each of its subjects, and ends it."""
        self._last_round.value = last_round
        try:
            assert self._results.poll(20 * PATIENCE), "the streams do not get all events"
            read: Read = self._results.recv()
            return read
        finally:
            self.kill()

    def kill(self) -> None:
        self._process.join(1)
        self._process.kill()
        self._process.join()


class _Reader:
    """One subscriber: the subjects that it asks for, all of them where there are none, and what it was sent."""

    def __init__(self, subjects: list[int], ends: Counter[str], last_round: Synchronized[int]) -> None:
        self._subjects = subjects
        self._ends = ends
        self._last_round = last_round
        self._token = ""
        self.opened = asyncio.Event()
        self.numbers: list[int] = []
        self.gaps = 0
        self._newest: dict[int, int] = {}

    async def follow(self, stub: ComplianceServiceStub, stays: bool) -> None:
        while not self._has_all():
            stay = None if stays else random.uniform(*STAY)
            try:
                async with asyncio.timeout(stay):
                    await self._read(stub)
            except TimeoutError:
                self._ends["left"] += 1
                await asyncio.sleep(random.uniform(*AWAY))
            except grpc.RpcError as error:
                self._ends[error.code().name] += 1
                await asyncio.sleep(RETRY_AFTER)

    async def _read(self, stub: ComplianceServiceStub) -> None:
        asked = {"resume_token": self._token} if self._token else {"position": START_POSITION_LATEST}
        filters = EventFilter(subject_ids=[f"subj_{subject}" for subject in self._subjects])
        async for message in stub.WatchEvents(WatchEventsRequest(**asked, filter=filters)):
            self.opened.set()
            self.gaps += message.HasField("gap")
            for event in message.events:
                number = int(event.event_id.removeprefix("evt_"))
                self.numbers.append(number)
                self._newest[number % SUBJECTS] = number
            self._token = message.resume_token
            if self._has_all():
                return

    def _has_all(self) -> bool:
        last_round = self._last_round.value
        subjects = self._subjects or range(SUBJECTS)
        return bool(last_round) and all(self._newest.get(subject, 0) >= last_round for subject in subjects)

    def faults(self, log: list[int]) -> list[str]:
        """Compares what it was sent with the log's order."""
        expected = [number for number in log if not self._subjects or number % SUBJECTS in self._subjects]
        name = f"stream of {self._subjects or 'all'}"
        found = [f"{name}: {self.gaps} gaps"] if self.gaps else []
        if self.numbers != expected:
            missing, doubled = set(expected) - set(self.numbers), len(self.numbers) - len(set(self.numbers))
            found.append(f"{name}: {len(missing)} missing, {doubled} doubled, of {len(expected)}; in order: no")
        return found


def _run(address: str, streams: int, last_round: Synchronized[int], results: Connection) -> None:
    raise_file_limit()
    results.send(asyncio.run(_follow_all(address, streams, last_round, results)))


async def _follow_all(address: str, streams: int, last_round: Synchronized[int], results: Connection) -> Read:
    read, chance = Read(), random.Random(streams)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    channels = [
        grpc.aio.insecure_channel(address, options=options) for _ in range(-(-streams // STREAMS_PER_CONNECTION))
    ]
    readers = []
    for number in range(streams):
        count = 0 if number < UNFILTERED else chance.choice([1, 1, 1, 10])
        readers.append(_Reader(chance.sample(range(SUBJECTS), count), read.ends, last_round))
    async with asyncio.TaskGroup() as tasks:
        for number, reader in enumerate(readers):
            stub = ComplianceServiceStub(channels[number % len(channels)])
            tasks.create_task(reader.follow(stub, stays=number == 0))
        for reader in readers:
            await reader.opened.wait()
        results.send("open")
    for channel in channels:
        await channel.close()
    read.log = readers[0].numbers
    read.events = sum(len(reader.numbers) for reader in readers)
    read.faults = [fault for reader in readers for fault in reader.faults(read.log)]
    return read
