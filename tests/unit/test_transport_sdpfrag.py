"""Trickled candidates: what is read, what is left out, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.transport.offer import OfferError
from engine.transport.sdpfrag import read_fragment

HOST = "1 1 UDP 2122252543 192.0.2.7 50000 typ host"
FRAGMENT = (
    "a=group:BUNDLE 0 1\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    f"a=candidate:{HOST}\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\n"
    f"a=candidate:{HOST.replace('50000', '50001')}\r\n"
    "a=end-of-candidates\r\n"
)


def test_the_example_of_the_rfc_is_read() -> None:
    fragment = read_fragment(FRAGMENT)
    assert fragment.ufrags == {"EsAw"}
    assert [(c.sdpMid, c.sdpMLineIndex, c.ip, c.port) for c in fragment.candidates] == [
        ("0", 0, "192.0.2.7", 50000),
        ("1", 1, "192.0.2.7", 50001),
    ]


@pytest.mark.parametrize(
    "candidate",
    [
        HOST.replace("192.0.2.7", "3c0a5a5e-1f5c-4c4e-9f0e-0d2b3f0c8b1a.local"),
        HOST.replace("192.0.2.7", "example.org"),
        HOST.replace("UDP", "TCP") + " tcptype active",
        HOST.replace("1 1 UDP", "1 2 UDP"),
        HOST.replace("50000", "0"),
    ],
)
def test_what_cannot_be_used_is_left_out(candidate: str) -> None:
    assert read_fragment(f"a=mid:0\na=candidate:{candidate}").candidates == ()


@pytest.mark.parametrize(
    "text",
    ["", "hello", "v=0", "a=candidate:", "a=candidate:1 1 UDP x y z typ host",
     f"a=candidate:{HOST.replace('50000', '70000')}", f"a=candidate:{HOST}\n" * 65,
     "a=x" * 10_000],
)  # fmt: skip
def test_what_is_no_fragment_is_refused(text: str) -> None:
    with pytest.raises(OfferError) as caught:
        read_fragment(text)
    assert caught.value.reason == "not_sdp"


@given(st.text(max_size=200) | st.lists(st.sampled_from(FRAGMENT.splitlines())).map("\n".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_fragment(text)
    except OfferError as error:
        assert error.reason == "not_sdp"
