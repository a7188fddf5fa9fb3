"""Messages on the data channel."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.badinputs.case import Message


def messages() -> Iterator[Message]:
    """Everything a control channel should not be told, and a few odd things that it may be."""
    for name, data in {
        "empty": "",
        "blank": "  ",
        "a-word": "interrupt",
        "brace": "{",
        "null": "null",
        "number": "1",
        "array": "[]",
        "array-of-commands": '[{"type": "interrupt"}]',
        "text": '"interrupt"',
        "no-type": "{}",
        "byte-order-mark": '\ufeff{"type": "ping"}',
        "deep-arrays": "[" * 4000,
        "deep-objects": '{"a":' * 700,
        "long": json.dumps({"type": "ping", "t": "x" * 5000}),
        "huge": "x" * 60_000,
        "digits": "9" * 4095,
        "binary-zeros": b"\x00" * 100,
        "binary-not-utf-8": b'\xff\xfe{"type"',
        "binary-png": b"\x89PNG\r\n\x1a\n" + bytes(50),
        "binary-huge": b"\xaa" * 60_000,
        "surrogates": '{"type": "\\ud800"',
        "type-array": '{"type": ["interrupt"]}',
        "type-object": '{"type": {"a": 1}}',
        "type-null": '{"type": null}',
        "type-number": '{"type": 1e400}',
        "type-unknown": '{"type": "reboot"}',
        "type-upper": '{"type": "INTERRUPT"}',
        "type-long": json.dumps({"type": "x" * 4000}),
        "ping-nan": '{"type": "ping", "t": NaN}',
        "stats-as-if-the-server": '{"type": "stats", "frames": 1}',
    }.items():
        yield Message(f"message/{name}", data, error=True)
    for name, data in {
        "subscribe-nothing": '{"type": "subscribe"}',
        "subscribe-to-arrays": '{"type": "subscribe", "motion": [[[]]]}',
        "ping-nested": '{"type": "ping", "t": {"a": [1, {"b": null}]}}',
        "ping-surrogate": '{"type": "ping", "t": "\\ud800"}',
        "ping-nothing": '{"type": "ping"}',
        "repeated-key": '{"type": "reboot", "type": "ping"}',
    }.items():
        yield Message(f"message/odd-{name}", data, error=False)
