"""Offers: what is taken, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import random

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.transport.offer import OfferError, read_offer


def real_offer() -> str:
    async def make() -> str:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pc.addTransceiver("audio", direction="sendrecv")
        pc.addTransceiver("video", direction="recvonly")
        pc.createDataChannel("control")
        await pc.setLocalDescription(await pc.createOffer())
        sdp = pc.localDescription.sdp
        await pc.close()
        return sdp

    return asyncio.run(make())


OFFER = real_offer()


def reason(text: str) -> str:
    with pytest.raises(OfferError) as caught:
        read_offer(text)
    assert str(caught.value).endswith(".")
    return caught.value.reason


def test_a_real_offer_is_taken_as_it_is() -> None:
    assert read_offer(OFFER).split() == OFFER.split()


@pytest.mark.parametrize("text", ["", "hello", "v=0", "v=0\r\nm=audio", "v=0\r\nm=audio x y z\r\n"])
def test_garbage_is_refused(text: str) -> None:
    assert reason(text) in {"not_sdp", "no_media"}


def test_an_offer_without_media_is_refused() -> None:
    head = OFFER[: OFFER.index("m=audio")]
    data = OFFER[OFFER.index("m=application") :]
    assert reason(head + data) == "no_media"


def test_codecs_that_nobody_here_speaks_are_named() -> None:
    text = OFFER.replace("VP8/", "VP9/").replace("H264/", "AV1/")
    assert reason(text) == "codec"
    with pytest.raises(OfferError, match=r"AV1.*VP9.*VP8 and H264"):
        read_offer(text)


def test_missing_credentials_are_refused() -> None:
    without = "\r\n".join(n for n in OFFER.splitlines() if not n.startswith("a=ice-ufrag"))
    assert reason(without) == "not_sdp"


def test_local_names_are_taken_out_and_candidates_stay_open() -> None:
    candidate = "a=candidate:1 1 udp 2113937151 0d3ba6f7-aa.local 51234 typ host"
    lines = OFFER.splitlines()
    place = next(i for i, n in enumerate(lines) if n.startswith("a=candidate"))
    text = "\r\n".join([*lines[:place], candidate, *lines[place:]])
    cleaned = read_offer(text)
    assert ".local" not in cleaned
    assert "a=end-of-candidates" not in cleaned
    assert cleaned.count("a=candidate:") == OFFER.count("a=candidate:")


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_offers_are_refused_or_taken_but_never_crash(rng: random.Random) -> None:
    lines = OFFER.splitlines()
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(1, len(lines))
        match rng.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
            case 2:
                lines.insert(at, rng.choice(lines))
            case _:
                lines[at] = lines[at].replace(rng.choice("0123456789: "), rng.choice("x:/ é\x00"))
    try:
        read_offer("\r\n".join(lines))
    except OfferError as error:
        assert error.reason in {"not_sdp", "no_media", "codec"}
