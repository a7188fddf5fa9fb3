// werift, a WebRTC stack of its own in TypeScript: `node werift.mjs URL [SPEECH]`, at the level of
// RTP. With the Opus packets of a JSON file (a list in base64, 20 ms each) it speaks over /offer,
// without it plays over WHEP; notes what comes, and prints one JSON object when enough has come.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// The packages lie in the folder this is started in, not beside this file.
const require = createRequire(process.cwd() + "/");
const { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpPacket, RtpHeader } =
  require("werift");

const [url, file] = process.argv.slice(2);
const whep = !file;
const speech = whep
  ? [] : JSON.parse(readFileSync(file)).map((text) => Buffer.from(text, "base64"));
const PACKETS = 100;

const pc = new RTCPeerConnection({
  codecs: {
    audio: [new RTCRtpCodecParameters({ mimeType: "audio/opus", clockRate: 48000, channels: 2 })],
    video: [new RTCRtpCodecParameters({ mimeType: "video/VP8", clockRate: 90000 })],
  },
});
const seen = { sounds: [], pictures: [], marks: 0, keys: 0 };
let enough;
const done = new Promise((resolve) => { enough = resolve; });

const microphone = new MediaStreamTrack({ kind: "audio" });
pc.addTransceiver(whep ? "audio" : microphone, { direction: whep ? "recvonly" : "sendrecv" });
pc.addTransceiver("video", { direction: "recvonly" });
pc.onTrack.subscribe((track) => {
  track.onReceiveRtp.subscribe(({ header, payload }) => {
    if (track.kind === "audio") {
      seen.sounds.push([header.sequenceNumber, header.timestamp]);
    } else {
      seen.pictures.push([header.sequenceNumber, header.timestamp]);
      if (header.marker) seen.marks++;
      // RFC 7741: the payload header's S bit with partition 0, then the frame header's key bit.
      const start = (payload[0] & 0x10) && !(payload[0] & 0x07);
      let at = 1;
      if (payload[0] & 0x80) {
        const more = payload[1];
        at = 2 + (more & 0x80 ? (payload[2] & 0x80 ? 2 : 1) : 0) + (more & 0x40 ? 1 : 0)
          + (more & 0x30 ? 1 : 0);
      }
      if (start && !(payload[at] & 1)) seen.keys++;
    }
    if (seen.sounds.length >= PACKETS && seen.marks >= PACKETS / 2) enough();
  });
});

await pc.setLocalDescription(await pc.createOffer());
const { sdp } = pc.localDescription;
const response = await fetch(url, {
  method: "POST",
  headers: { "Content-Type": whep ? "application/sdp" : "application/json" },
  body: whep ? sdp : JSON.stringify({ sdp, type: "offer" }),
});
if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
const answer = whep ? await response.text() : (await response.json()).sdp;
await pc.setRemoteDescription({ type: "answer", sdp: answer });

let sequence = 0;
const speaking = whep ? null : setInterval(() => {
  const payload = speech[sequence % speech.length];
  const header = new RtpHeader({
    payloadType: 96, sequenceNumber: sequence & 0xffff, timestamp: (sequence * 960) >>> 0,
    ssrc: 1234, marker: sequence === 0,
  });
  sequence++;
  microphone.writeRtp(new RtpPacket(header, payload));
}, 20);

await done;
clearInterval(speaking);
seen.sent = sequence;
if (whep) {
  const left = await fetch(new URL(response.headers.get("Location"), url), { method: "DELETE" });
  seen.left = left.status;
}
await pc.close();
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
