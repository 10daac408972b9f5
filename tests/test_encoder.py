"""The encoders."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import fractions
import json
import math
import pathlib
import types
import uuid
from decimal import Decimal
from typing import Any

import gearman
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gearmancmd
from gearmancmd import DecimalJSONDataEncoder, GearmanCMD, GearmanCMDQueue, JSONDataEncoder
from gearmancmd.encoder import TextDataEncoder

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_json_survives_the_round_trip(value):
    assert JSONDataEncoder.decode(JSONDataEncoder.encode(value)) == value


class Shouting(str):
    def __str__(self) -> str:
        return "SHOUT"

    __repr__ = __str__


class Odd(int):
    def __repr__(self) -> str:
        return "odd"

    __str__ = __repr__


class Rough(float):
    def __repr__(self) -> str:
        return "rough"

    __str__ = __repr__


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 9


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Name(str, enum.Enum):
    ADA = "ada"


class Ratio(float, enum.Enum):
    HALF = 0.5


Point = collections.namedtuple("Point", "x y")


class AsDict:
    def _asdict(self) -> dict[str, int]:
        return {"never": 1}


class ForJSON:
    def for_json(self) -> str:
        return "never"

    def __iter__(self) -> Any:
        return iter(["never"])


class DictThatLies(dict[str, int]):
    def _asdict(self) -> dict[str, int]:
        return {"never": 1}

    def for_json(self) -> str:
        return "never"


class TupleThatLies(tuple[int, ...]):
    def _asdict(self) -> dict[str, int]:
        return {"never": 1}


@dataclasses.dataclass
class Data:
    x: int = 1


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _nested(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


SCALARS = {
    "str": 'é\u2028\x00\x7f\ud800\U0001f600</script>"\\/\n',
    "str subclass": Shouting("quiet"),
    "int": 10**400,
    "int of 5,000 digits": 10**5000,
    "int subclass": Odd(5),
    "float": 1e300,
    "float with a negative exponent": 1e-7,
    "negative zero": -0.0,
    "float subclass": Rough(2.5),
    "bool": True,
    "None": None,
    "enum": Color.RED,
    "enum of int": Level.HIGH,
    "flags": Flags.A | Flags.B,
    "enum of str": Name.ADA,
    "enum of float": Ratio.HALF,
    "bytes": b"bytes",
    "complex": 1j,
    "fraction": fractions.Fraction(1, 2),
    "datetime": datetime.datetime(2020, 1, 1),
    "uuid": uuid.UUID(int=1),
    "path": pathlib.PurePath("x"),
    "class": int,
    "function": len,
    "tuple": (1, 2),
    "namedtuple": Point(1, 2),
    "frozenset": frozenset([1]),
    "range": range(3),
    "Ellipsis": ...,
}
CONTAINERS = {
    "bytearray": bytearray(b"x"),
    "memoryview": memoryview(b"x"),
    "namedtuple of namedtuples": Point(Point(1, []), {"a": Point(1, 2)}),
    "tuple subclass": TupleThatLies((1, 2)),
    "dict subclass": DictThatLies(a=1),
    "object with _asdict": AsDict(),
    "object with for_json": ForJSON(),
    "dataclass": Data(),
    "set": {1},
    "generator": (x for x in "ab"),
    "iterator": iter([1]),
    "map": map(str, [1]),
    "deque": collections.deque([1]),
    "OrderedDict": collections.OrderedDict(b=1, a=2),
    "defaultdict": collections.defaultdict(int, a=1),
    "Counter": collections.Counter("aab"),
    "ChainMap": collections.ChainMap({"a": 1}),
    "mapping proxy": types.MappingProxyType({"a": 1}),
    "UserDict": collections.UserDict(a=1),
    "UserList": collections.UserList([1]),
    "UserString": collections.UserString("x"),
    "dict keys": {"a": 1}.keys(),
    "keys that collide": {1: 1, "1": 2, False: 3, "false": 4, None: 5, "null": 6},
    "empty": [{}, [], (), ""],
    "itself": _circle(),
    "nesting": _nested(50),
    "bottomless nesting": _nested(200_000),
    "exception": ValueError("x"),
}
KEYS = {f"{name} as a key": {value: 1} for name, value in SCALARS.items()}
VALUES = {**SCALARS, **CONTAINERS, **KEYS, **{f"{name} in a list": [value] for name, value in SCALARS.items()}}


def _told(encode: Any, value: Any) -> Any:
    """The text, or that there is none."""
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError):
        return "refused"


def _standard(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_json_is_what_the_standard_library_makes_of_a_value(value):
    assert _told(JSONDataEncoder.encode, value) == _told(_standard, value)


def scalar(name: str) -> Any:
    return SCALARS[name]


any_values = st.recursive(
    st.sampled_from(sorted(SCALARS)).map(scalar) | st.floats() | st.integers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.builds(Point, inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.floats() | st.booleans() | st.none(), inner)
    ),
    max_leaves=10,
)


@given(any_values)
def test_json_is_what_the_standard_library_makes_of_any_value(value):
    assert _told(JSONDataEncoder.encode, value) == _told(_standard, value)


@given(json_values | st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_is_read_as_the_standard_library_reads_it(value):
    text = json.dumps(value)
    read = JSONDataEncoder.decode(text.encode())
    assert (read, repr(read)) == (json.loads(text), repr(json.loads(text)))


def test_fractions_are_floats():
    value = JSONDataEncoder.decode(b"[1.10, 1e2, 5, -0.0]")
    assert repr(value) == "[1.1, 100.0, 5, -0.0]"


def test_a_decimal_may_be_sent():
    assert JSONDataEncoder.encode({"x": Decimal("1.10"), "y": 0.5}) == b'{"x":1.10,"y":0.5}'


def test_fractions_may_be_decimals_both_ways():
    value = DecimalJSONDataEncoder.decode(b'{"x": 1.10, "n": 1}')
    assert value == {"x": Decimal("1.10"), "n": 1} and isinstance(value["n"], int)
    assert DecimalJSONDataEncoder.encode(value) == b'{"x":1.10,"n":1}'
    assert DecimalJSONDataEncoder.decode("0.1") == Decimal("0.1")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"NaN"])
def test_decimals_are_for_json_only_too(data):
    with pytest.raises(ValueError):
        DecimalJSONDataEncoder.decode(data)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), [math.nan], {math.inf: 1}, object()])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        JSONDataEncoder.encode(value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"{'a': 1}", b"1 2"])
def test_what_is_not_json_is_refused(data):
    with pytest.raises(ValueError):
        JSONDataEncoder.decode(data)


def test_text_may_come_decoded():
    assert JSONDataEncoder.decode('"ü"') == "ü"
    assert TextDataEncoder.decode("ü") == "ü"


@given(st.binary())
def test_any_bytes_survive_as_text(data):
    assert TextDataEncoder.encode(TextDataEncoder.decode(data)) == data
    assert TextDataEncoder.encode(data) == data


def test_only_text_is_text():
    with pytest.raises(TypeError, match="expected str or bytes, got 5"):
        TextDataEncoder.encode(5)


class Sums(GearmanCMDQueue):
    """Commands as they are written for the standard library's json."""

    def third(self, gcmd, task):
        return [task["s"] * 1.1, json.dumps(task), Point(1, 0.5)]

    def exact(self, gcmd, task):
        return Decimal("1.10")

    def odd(self, gcmd, task):
        return {"bytes": b"x", "asdict": AsDict(), "digits": 10**5000, "nan": math.nan}[task["what"]]


def test_a_command_calculates_with_the_fractions_of_its_task(server, client, queue, run):
    run(GearmanCMD([server.address]).register_task(queue, Sums()))
    task = {"command": "third", "s": 0.5}
    assert client.call(queue, task).result == [0.55, json.dumps(task), [1, 0.5]]
    assert client.call(queue, {"command": "exact"}).data == b"1.10"


@pytest.mark.parametrize(
    "what, said",
    [
        ("bytes", "TypeError: Object of type bytes is not JSON serializable"),
        ("asdict", "TypeError: Object of type AsDict is not JSON serializable"),
        ("digits", "ValueError: Exceeds the limit"),
        ("nan", "ValueError: Out of range float values are not JSON compliant"),
    ],
)
def test_a_result_that_json_cannot_hold_fails_its_job_and_says_why(server, client, queue, run, what, said):
    run(GearmanCMD([server.address]).register_task(queue, Sums()))
    assert client.call(queue, {"command": "odd", "what": what}).reason.startswith(
        f"the result cannot be encoded: {said}"
    )
    assert client.call(queue, {"command": "exact"}).data == b"1.10"


def test_a_number_of_too_many_digits_fails_its_job_and_says_why(server, client, queue, run):
    run(GearmanCMD([server.address]).register_task(queue, Sums()))
    reason = client.call(queue, b'{"command": "exact", "n": ' + b"9" * 5000 + b"}").reason
    assert reason.startswith("the payload cannot be decoded: ValueError: Exceeds the limit")
    assert client.call(queue, {"command": "exact"}).data == b"1.10"


@pytest.mark.parametrize("base", [gearmancmd.JSONGearmanWorker, gearman.GearmanWorker])
def test_a_worker_may_have_decimals_both_ways(server, client, queue, run, base):
    class ExactWorker(base):
        data_encoder = DecimalJSONDataEncoder

    class ExactCMD(GearmanCMD):
        worker = ExactWorker

    class Add(GearmanCMDQueue):
        def add(self, gcmd, task):
            return task["a"] + task["b"]

    run(ExactCMD([server.address]).register_task(queue, Add()))
    assert client.call(queue, b'{"command": "add", "a": 0.10, "b": 0.20}').data == b"0.30"
