"""What a client makes of results that its decoder does not like, or that are too large."""

from __future__ import annotations

import asyncio

import pytest

from gearmancmd import AsyncJSONGearmanClient, GearmanCMD, JobFailed, JSONDataEncoder, JSONGearmanClient
from tests.support.queues import Serving
from tests.support.waiting import LIMIT

HELLO = {"command": "reverse", "message": "Hello"}


class OfADecoder(Exception):
    pass


class Undecodable(JSONDataEncoder):
    """Refuses every result in a manner of its own."""

    error: Exception = ValueError("no good")

    @classmethod
    def decode(cls, data):
        raise cls.error


ERRORS = [ValueError("no good"), KeyError("no good"), OfADecoder("no good"), RecursionError("no good"), StopIteration()]


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def encoder(request):
    return type("Refusing", (Undecodable,), {"error": request.param})


@pytest.fixture
def serving(server, queue, run):
    run(GearmanCMD([server.address]).register_task(queue, Serving()))


@pytest.mark.parametrize("verb", ["call", "submit", "map"])
def test_whatever_a_decoder_raises_fails_that_job(server, queue, serving, encoder, verb):
    with type("Client", (JSONGearmanClient,), {"data_encoder": encoder})([server.address], timeout=LIMIT) as client:
        with pytest.raises(JobFailed, match=r"its result cannot be decoded: .*: b'\"olleH\"'") as caught:
            if verb == "call":
                client.call(queue, HELLO)
            elif verb == "submit":
                client.submit(queue, HELLO).result()
            else:
                next(client.map(queue, [HELLO]))
    assert caught.value.handle.startswith("H:")
    assert caught.value.__cause__ is encoder.error


@pytest.mark.parametrize("verb", ["call", "submit", "map"])
def test_the_same_of_the_asyncio_client(server, queue, serving, encoder, verb):
    async def main():
        kind = type("Client", (AsyncJSONGearmanClient,), {"data_encoder": encoder})
        async with kind([server.address], timeout=LIMIT) as client:
            if verb == "call":
                await client.call(queue, HELLO)
            elif verb == "submit":
                await (await client.submit(queue, HELLO)).result()
            else:
                async for _ in client.map(queue, [HELLO]):
                    pass

    with pytest.raises(JobFailed, match=r"its result cannot be decoded: .*: b'\"olleH\"'"):
        asyncio.run(main())


def test_what_cannot_be_decoded_beside_the_result_is_told_as_text(server, queue, serving, encoder):
    seen = []
    with type("Client", (JSONGearmanClient,), {"data_encoder": encoder})([server.address], timeout=LIMIT) as client:
        with pytest.raises(JobFailed, match="cannot be decoded"):
            client.call(queue, {"command": "report"}, on_data=seen.append, on_warning=seen.append)
        with pytest.raises(JobFailed) as caught:
            client.call(queue, {"command": "refuse"})
    assert seen == ['{"page":0}', '{"page":1}', '{"page":2}', '"paper is low"']
    assert caught.value.reason == '"out of paper"'


def test_a_result_above_max_payload_fails_its_job_and_no_other(server, queue, serving):
    large = {"command": "reverse", "message": "x" * 5000}
    with JSONGearmanClient([server.address], timeout=LIMIT, max_payload=1000) as client:
        for _ in range(2):
            with pytest.raises(JobFailed, match=r"5\d+ bytes are more than max_payload, which is 1000"):
                client.call(queue, large)
            assert client.call(queue, HELLO) == "olleH"

    async def main():
        async with AsyncJSONGearmanClient([server.address], timeout=LIMIT, max_payload=1000) as client:
            with pytest.raises(JobFailed, match="more than max_payload"):
                await client.call(queue, large)
            return await client.call(queue, HELLO)

    assert asyncio.run(main()) == "olleH"


@pytest.mark.parametrize("kind", [JSONGearmanClient, AsyncJSONGearmanClient])
def test_a_max_payload_that_is_none_is_refused(kind):
    with pytest.raises(ValueError, match="max_payload must be at least 1, not 0"):
        kind(["localhost"], max_payload=0)
