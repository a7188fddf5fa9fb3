// libwebrtc in Node: `node wrtc.mjs URL offer|whep`. Speaks a tone (over /offer), counts and reads
// what comes back, and prints one JSON object when enough has come.

import { createRequire } from "node:module";

// The packages lie in the folder this is started in, not beside this file.
const require = createRequire(process.cwd() + "/");
const wrtc = require("@roamhq/wrtc");
const { RTCAudioSink, RTCAudioSource, RTCVideoSink } = wrtc.nonstandard;

const [url, way] = process.argv.slice(2);
const FRAMES = 75;
const RATE = 48000;

const pc = new wrtc.RTCPeerConnection({ iceServers: [] });
const seen = { numbers: [], mouths: [], sizes: [], loudest: 0, sounds: 0, codecs: {} };
let enough;
const done = new Promise((resolve) => { enough = resolve; });

function look({ width, height, data }) {
  const scale = width / 512;
  const row = Math.round(12 * scale) * width;
  let number = 0;
  for (let bit = 0; bit < 16; bit++) {
    if (data[row + Math.round((bit + 0.5) * 24 * scale)] > 128) number |= 1 << bit;
  }
  let dark = 0, all = 0;
  for (let y = Math.round(300 * scale); y < Math.round(440 * scale); y++, all++) {
    if (data[y * width + Math.round(256 * scale)] < 120) dark++;
  }
  seen.numbers.push(number);
  seen.mouths.push(dark / all);
  seen.sizes.push([width, height]);
  if (seen.numbers.length === FRAMES) enough();
}

pc.ontrack = ({ track }) => {
  if (track.kind === "video") {
    new RTCVideoSink(track).onframe = ({ frame }) => look(frame);
  } else {
    new RTCAudioSink(track).ondata = ({ samples }) => {
      seen.sounds++;
      for (const value of samples) seen.loudest = Math.max(seen.loudest, Math.abs(value));
    };
  }
};

let speaking;
if (way === "offer") {
  const source = new RTCAudioSource();
  pc.addTrack(source.createTrack());
  pc.addTransceiver("video", { direction: "recvonly" });
  // 10 ms at a time, as libwebrtc takes it; a tone that comes and goes twice a second.
  let at = 0;
  const begun = Date.now();
  speaking = setInterval(() => {
    while ((at / RATE) * 1000 < Date.now() - begun) {
      const samples = new Int16Array(480);
      for (let i = 0; i < 480; i++, at++) {
        samples[i] = 8000 * Math.sin((2 * Math.PI * 200 * at) / RATE)
          * Math.sin((2 * Math.PI * at) / RATE) ** 2;
      }
      source.onData({ samples, sampleRate: RATE, channelCount: 1, bitsPerSample: 16 });
    }
  }, 10);
} else {
  pc.addTransceiver("audio", { direction: "recvonly" });
  pc.addTransceiver("video", { direction: "recvonly" });
}

await pc.setLocalDescription(await pc.createOffer());
await new Promise((resolve) => {
  if (pc.iceGatheringState === "complete") resolve();
  pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && resolve();
});
const sdp = pc.localDescription.sdp;
const whep = way === "whep";
const response = await fetch(url, {
  method: "POST",
  headers: { "Content-Type": whep ? "application/sdp" : "application/json" },
  body: whep ? sdp : JSON.stringify({ sdp, type: "offer" }),
});
if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
const answer = whep ? await response.text() : (await response.json()).sdp;
await pc.setRemoteDescription({ type: "answer", sdp: answer });

await done;
const reports = new Map();
for (const report of (await pc.getStats()).values()) reports.set(report.id, report);
for (const report of reports.values()) {
  if (report.type !== "inbound-rtp") continue;
  seen.codecs[report.kind] = reports.get(report.codecId)?.mimeType;
}
if (whep) {
  const left = await fetch(new URL(response.headers.get("Location"), url), { method: "DELETE" });
  seen.left = left.status;
}
clearInterval(speaking);
pc.close();
// Written before the exit: pipes are not flushed by it, and libwebrtc's threads keep Node alive.
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
