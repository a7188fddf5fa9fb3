"""GStreamer's ``webrtcbin``: ``/usr/bin/python3 gst_peer.py URL offer|whep``.

Runs in the system's Python, whose ``gi`` Debian's python3-gst-1.0 brings; nothing else is used.
Sends beeps (over /offer), decodes what comes, and prints one JSON object when enough has come.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

FRAMES = 75
PEER = "webrtcbin name=peer bundle-policy=max-bundle "
BEEPS = (
    # A quarter of a second, twice a second: the mouth opens and closes.
    "audiotestsrc is-live=true wave=ticks freq=400 sine-periods-per-tick=100 "
    "tick-interval=500000000 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay pt=111 ! "
    "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000 ! peer. "
)
DECODERS = {
    "VP8": "rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=GRAY8",
    "OPUS": "rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE",
}
VP8 = "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000"
OPUS = "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000"


class Peer:
    """One connection, on GLib's loop."""

    def __init__(self, url: str, way: str) -> None:
        self.url, self.way = url, way
        self.loop = GLib.MainLoop()
        self.numbers: list[int] = []
        self.mouths: list[float] = []
        self.sounds, self.loudest = 0, 0
        self.codecs: list[str] = []
        self.posted = False
        self.resource = ""
        self.pipe = Gst.parse_launch(PEER + (BEEPS if way == "offer" else ""))
        if way != "offer":  # a lone element is not made into a pipeline
            element, self.pipe = self.pipe, Gst.Pipeline()
            self.pipe.add(element)
        self.peer = self.pipe.get_by_name("peer")
        receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
        for caps in (VP8,) if way == "offer" else (OPUS, VP8):
            self.peer.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
        self.peer.connect("on-negotiation-needed", self._offer)
        self.peer.connect("notify::ice-gathering-state", self._gathered)
        self.peer.connect("pad-added", self._pad)

    def run(self) -> None:
        """Until enough has come."""
        self.pipe.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipe.set_state(Gst.State.NULL)

    def request(self, url: str, method: str, body: str = "", kind: str = "") -> tuple[str, str]:
        """One HTTP request to the test's own server: the address it names, and the body."""
        headers = {"Content-Type": kind} if kind else {}
        request = urllib.request.Request(url, body.encode() or None, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            where = urllib.parse.urljoin(url, response.headers.get("Location", ""))
            return where, response.read().decode()

    def _offer(self, _peer: Any) -> None:
        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self._offered))

    def _offered(self, promise: Any) -> None:
        reply = promise.get_reply()  # kept: the offer lies in it
        offer = reply.get_value("offer")
        self.peer.emit("set-local-description", offer, Gst.Promise.new())

    def _gathered(self, _peer: Any, _what: Any) -> None:
        state = self.peer.get_property("ice-gathering-state")
        if state == GstWebRTC.WebRTCICEGatheringState.COMPLETE and not self.posted:
            self.posted = True
            GLib.idle_add(self._post)

    def _post(self) -> bool:
        sdp = self.peer.get_property("local-description").sdp.as_text()
        if self.way == "offer":
            body = json.dumps({"sdp": sdp, "type": "offer"})
            _, answer = self.request(self.url, "POST", body, "application/json")
            text = json.loads(answer)["sdp"]
        else:
            self.resource, text = self.request(self.url, "POST", sdp, "application/sdp")
        _, message = GstSdp.SDPMessage.new_from_text(text)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", answer, Gst.Promise.new())
        return False

    def _pad(self, _peer: Any, pad: Any) -> None:
        if pad.direction != Gst.PadDirection.SRC:
            return
        codec = pad.get_current_caps().get_structure(0).get_string("encoding-name")
        self.codecs.append(codec)
        text = f"{DECODERS[codec]} ! appsink name=sink emit-signals=true sync=false"
        decoder = Gst.parse_bin_from_description(text, True)
        take = self._picture if codec == "VP8" else self._sound
        decoder.get_by_name("sink").connect("new-sample", take)
        self.pipe.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def _sound(self, sink: Any) -> Any:
        buffer = sink.emit("pull-sample").get_buffer()
        samples = memoryview(buffer.extract_dup(0, buffer.get_size())).cast("h")
        self.sounds += 1
        self.loudest = max(self.loudest, *map(abs, samples[::16]))
        return Gst.FlowReturn.OK

    def _picture(self, sink: Any) -> Any:
        sample = sink.emit("pull-sample")
        width = sample.get_caps().get_structure(0).get_value("width")
        buffer = sample.get_buffer()
        luma = buffer.extract_dup(0, buffer.get_size())
        stride = len(luma) // width  # the card is square: as many rows as columns
        scale = width / 512
        row = round(12 * scale) * stride
        bits = [luma[row + round((bit + 0.5) * 24 * scale)] > 128 for bit in range(16)]
        self.numbers.append(sum(1 << bit for bit in range(16) if bits[bit]))
        rows = range(round(300 * scale), round(440 * scale))
        dark = [luma[y * stride + round(256 * scale)] < 120 for y in rows]
        self.mouths.append(sum(dark) / len(dark))
        if len(self.numbers) == FRAMES:
            GLib.idle_add(self.loop.quit)
        return Gst.FlowReturn.OK


def main() -> None:
    """Connect, watch, report."""
    Gst.init(None)
    peer = Peer(*sys.argv[1:])
    peer.run()
    if peer.resource:
        peer.request(peer.resource, "DELETE")  # raises if it is not answered well
    seen = {
        "numbers": peer.numbers,
        "mouths": peer.mouths,
        "loudest": peer.loudest,
        "sounds": peer.sounds,
        "codecs": sorted(peer.codecs),
        "version": Gst.version_string(),
    }
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
