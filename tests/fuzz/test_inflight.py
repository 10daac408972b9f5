"""Whatever packets come, what a client has in flight ends once, as documented, and nothing is kept for good."""

from __future__ import annotations

import struct
import weakref
from contextlib import suppress
from typing import Any
from unittest import mock

from gearman.errors import ProtocolError
from gearman.protocol import GEARMAN_PARAMS_FOR_COMMAND
from hypothesis import given
from hypothesis import strategies as st

from gearmancmd import JSONDataEncoder
from gearmancmd._client import inflight
from gearmancmd._client.awaited import Awaited, PendingBatch, PendingJob, StatusQuery
from gearmancmd._client.result import result_of
from gearmancmd._wire.packet import Packet, PacketReader
from gearmancmd.errors import GearmanCMDError, ServerUnavailable
from tests.support.fuzzing import examples, inputs, tell

JOB_CREATED, ERROR = 8, 19

#: Jobs that were given up of which the handle is kept.
DROPPED = 3


class Job(PendingJob):
    __slots__ = ("__weakref__",)


class Batch(PendingBatch):
    __slots__ = ("__weakref__",)


class Query(StatusQuery):
    __slots__ = ("__weakref__",)


MAKE = {
    "job": lambda handle: Job("unique", background=False),
    "background job": lambda handle: Job("unique", background=True),
    "batch": lambda handle: Batch(2),
    "query": Query,
}

handles = st.sampled_from(["H:1", "H:2", "H:3", ""])
words = st.one_of(
    handles.map(str.encode),
    st.sampled_from([b"H:1\0", b"1", b"0", b"-1", b"9" * 30, b"UNKNOWN_OPTION", b'"text"', b"{", b"\xff"]),
    st.binary(max_size=8),
)


def packet(kind: int, handle: str, more: list[bytes]) -> bytes:
    count = len(GEARMAN_PARAMS_FOR_COMMAND.get(kind, ["all"]))
    body = b"\0".join([handle.encode(), *more][:count])
    return b"\0RES" + struct.pack("!II", kind, len(body)) + body


#: JOB_CREATED, WORK_COMPLETE and the like, each with what it may be about; and any other kind.
kinds = st.one_of(st.sampled_from([8, 8, 8, 12, 13, 14, 19, 20, 25, 28, 29]), st.integers(0, 42))
packets = st.builds(packet, kinds, handles, st.lists(words, min_size=4, max_size=4)).map(bytes.hex)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(sorted(MAKE)), handles),
        st.tuples(st.just("receive"), packets),
        st.tuples(st.just("receive"), packets),
        st.tuples(st.just("give up"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([0.05, 1.0, 40.0])),
    ),
    min_size=4,
    max_size=40,
)


class Client:
    """A client's owner of the sockets, with one server and no sockets."""

    def __init__(self) -> None:
        self.inflight = inflight.Inflight("server:4730")
        self.now = 100.0
        self.sent: list[Awaited] = []
        #: Until when each is to be acknowledged.
        self.acknowledge_by: list[float] = []
        #: Acknowledgements that the server owes.
        self.owed = 0

    def send(self, kind: str, handle: str) -> None:
        awaited = MAKE[kind](handle)
        self.owed += {"batch": 2, "query": 0}.get(kind, 1)
        self.sent.append(awaited)
        self.acknowledge_by.append(self.now + 30.0)
        self.inflight.add(awaited, self.acknowledge_by[-1])

    def receive(self, stream: str) -> None:
        received: list[Packet] = []
        with suppress(ProtocolError):  # of a client, it ends the connection
            received = PacketReader(16).feed(bytes.fromhex(stream))
        for kind, arguments in received:
            if kind == JOB_CREATED or (kind == ERROR and arguments[0] != b"UNKNOWN_OPTION"):
                self.owed = max(0, self.owed - 1)
        self.inflight.receive(received, self.now)

    def give_up(self, number: int) -> None:
        if number < len(self.sent) and not self.sent[number].ended:  # nobody waits for what has ended
            self.sent[number].drop()
            self.inflight.drop(self.sent[number])

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.inflight.act(self.now)
        assert self.inflight.due() > self.now
        late = [each for each, by in zip(self.sent, self.acknowledge_by, strict=True) if by <= self.now]
        assert all(each.ended or answered(each) for each in late)

    def step(self, name: str, *values: Any) -> None:
        {"send": self.send, "receive": self.receive, "give up": self.give_up, "wait": self.wait}[name](*values)


def answered(awaited: Awaited) -> bool:
    """Whether its submission needs no acknowledgement, or has it."""
    return awaited.acknowledged if isinstance(awaited, PendingJob) else isinstance(awaited, StatusQuery)


def outcome(awaited: Awaited) -> tuple[Any, ...]:
    """How it ended, as whoever waits for it is told."""
    assert awaited.ended
    if isinstance(awaited, PendingJob) and not (awaited.background or awaited.dropped or awaited.error):
        try:
            return "result", repr(result_of(awaited, JSONDataEncoder.decode))
        except GearmanCMDError as error:
            return type(error), str(error)
    assert awaited.error is None or isinstance(awaited.error, GearmanCMDError)
    return "ended", awaited.error


@inputs(400)
@given(steps=steps)
@examples("inflight.jsonl", lambda kept: {"steps": kept})
def test_whatever_a_server_sends_each_job_ends_once_and_is_kept_no_longer(steps):
    with mock.patch.object(inflight, "DROPPED_JOBS", DROPPED):
        client, ends = Client(), {}
        for step in steps:
            client.step(*step)
            assert client.inflight.owing == bool(client.owed)
            ends.update({each: outcome(each) for each in client.sent if each.ended and each not in ends})
    assert {each: outcome(each) for each in ends} == ends

    pending = [each for each in client.sent if not each.ended and not each.dropped]
    done = [weakref.ref(each) for each in client.sent if each.ended and not each.dropped]
    given_up = [weakref.ref(each) for each in client.sent if each.dropped]
    client.sent.clear()
    ends.clear()
    assert [each() for each in done] == [None] * len(done)
    assert sum(each() is not None for each in given_up) <= client.owed + DROPPED

    tell("jobs in flight", f"{'some' if done else 'none'} done, {'some' if pending else 'none'} pending")
    client.inflight.lost("why")
    assert all(isinstance(each.error, ServerUnavailable) for each in pending)
    assert not client.inflight.owing and client.inflight.due() == float("inf")
    assert [each() for each in given_up] == [None] * len(given_up)
