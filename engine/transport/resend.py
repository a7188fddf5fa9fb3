"""How much of what a receiver asks for again is sent again.

Repeated packets share the link with new ones. Where the link is full, what is repeated is lost in
turn and asked for again: measured on a link of 300 kbit/s, 600 requests a second for a picture of
150 kbit/s, four packets of five lost, and nothing shown until the link was free. libwebrtc has the
same two limits (``RtpPacketHistory``, ``RateLimiter``): a packet not again within a round trip, and
a rate for all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto

SHARE = 0.25
"""Of the encoder's rate, for repeated packets: enough for one packet in five lost, and again."""
_BURST_SECONDS = 1.0
_LEAST_PAUSE_SECONDS = 0.02
_REMEMBERED = 512


class Answer(Enum):
    """What is done about a request."""

    SEND = auto()
    TOO_SOON = auto()
    """The last repeat is still on its way."""
    TOO_MUCH = auto()
    """There is no room: the receiver will have to do without."""


class Resends:
    """Decides about one stream's requests. Time comes in as seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._sent: OrderedDict[int, float] = OrderedDict()
        self._bits = 0.0
        self._at: float | None = None

    def ask(self, number: int, size: int, now: float, round_trip: float, rate: int) -> Answer:
        """Whether to send a packet again now; if so, it counts as sent.

        Args:
            number: RTP sequence number of the lost packet.
            size: bytes.
            now: seconds.
            round_trip: seconds; a request within one of the last repeat does not know of it.
            rate: bits per second of the encoder.
        """
        room = SHARE * rate * _BURST_SECONDS
        since = room if self._at is None else SHARE * rate * (now - self._at)
        self._bits, self._at = min(room, self._bits + since), now
        before = self._sent.get(number)
        if before is not None and now - before < max(round_trip, _LEAST_PAUSE_SECONDS):
            return Answer.TOO_SOON
        if self._bits < 8 * size:
            return Answer.TOO_MUCH
        self._bits -= 8 * size
        self._sent[number] = now
        self._sent.move_to_end(number)
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        return Answer.SEND
