// libdatachannel, the stack inside OBS: `node libdatachannel.mjs URL [SPEECH]`. With the Opus packets
// of a JSON file (a list in base64, 20 ms each) it publishes them over WHIP as OBS does, until
// standard input ends; without it plays over WHEP, until enough has come. Prints one JSON object.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// The packages lie in the folder this is started in, not beside this file.
const require = createRequire(process.cwd() + "/");
const ndc = require("node-datachannel");

const [url, file] = process.argv.slice(2);
const PACKETS = 100;
const pc = new ndc.PeerConnection("peer", { iceServers: [] });
const seen = { sounds: [], pictures: [], sizes: [] };

// OBS sends its offer before it has any candidate, and none later: it is found by its packets.
async function connect() {
  const offered = new Promise((resolve) => pc.onLocalDescription(resolve));
  pc.setLocalDescription("offer");
  const headers = { "Content-Type": "application/sdp" };
  const response = await fetch(url, { method: "POST", headers, body: await offered });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  pc.setRemoteDescription(await response.text(), "answer");
  return new URL(response.headers.get("Location"), url);
}

function publisher() {
  const speech = JSON.parse(readFileSync(file)).map((text) => Buffer.from(text, "base64"));
  const audio = new ndc.Audio("0", "SendOnly");
  audio.addOpusCodec(111);
  audio.addSSRC(1234, "obs", "stream", "sound");
  const video = new ndc.Video("1", "SendOnly");
  video.addH264Codec(96);
  video.addSSRC(1235, "obs", "stream", "picture");
  const config = new ndc.RtpPacketizationConfig(1234, "obs", 111, 48000);
  const packets = new ndc.RtpPacketizer(config);
  packets.addToChain(new ndc.RtcpSrReporter(config));
  packets.addToChain(new ndc.RtcpNackResponder());
  const track = pc.addTrack(audio);
  track.setMediaHandler(packets);
  const picture = pc.addTrack(video); // kept, or it would be closed; nobody wants it
  let count = 0;
  const speaking = setInterval(() => {
    if (!track.isOpen()) return;
    config.timestamp = (count * 960) >>> 0;
    track.sendMessageBinary(speech[count++ % speech.length]);
  }, 20);
  const done = new Promise((resolve) => process.stdin.on("end", resolve).resume());
  return { picture, done: done.then(() => { clearInterval(speaking); seen.sent = count; }) };
}

function player() {
  let enough;
  const done = new Promise((resolve) => { enough = resolve; });
  const audio = new ndc.Audio("0", "RecvOnly");
  audio.addOpusCodec(111);
  const video = new ndc.Video("1", "RecvOnly");
  video.addVP8Codec(96);
  const tracks = [[audio, seen.sounds], [video, seen.pictures]].map(([media, list]) => {
    const track = pc.addTrack(media);
    track.setMediaHandler(new ndc.RtcpReceivingSession());
    track.onMessage((packet) => {
      list.push([packet.readUInt16BE(2), packet.readUInt32BE(4)]);
      if (seen.sounds.length >= PACKETS && seen.pictures.length >= PACKETS) enough();
    });
    return track;
  });
  return { tracks, done };
}

const role = file ? publisher() : player();
const resource = await connect();
await role.done;
seen.left = (await fetch(resource, { method: "DELETE" })).status;
pc.close();
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
