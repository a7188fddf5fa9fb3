// A browser's plain JavaScript API, evaluated in a page: publishes `media` by WHIP, plays the avatar
// by WHEP, reads the test card's numbers from the shown pictures, then leaves both with DELETE.
async ({ whip, whep, media, frames }) => {
  const connect = async (pc, url) => {
    await pc.setLocalDescription(await pc.createOffer());
    if (pc.iceGatheringState !== "complete") {
      await new Promise((resolve) => {
        pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && resolve();
      });
    }
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: pc.localDescription.sdp,
    });
    if (response.status !== 201) throw new Error(`${url}: ${await response.text()}`);
    await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    return response.headers.get("Location");
  };
  const captured = await navigator.mediaDevices.getUserMedia(media);
  const source = new RTCPeerConnection();
  for (const track of captured.getTracks()) source.addTrack(track, captured);
  const published = await connect(source, whip);

  const viewer = new RTCPeerConnection();
  for (const kind of ["audio", "video"]) viewer.addTransceiver(kind, { direction: "recvonly" });
  const video = document.createElement("video");
  document.body.append(video);
  const stream = new MediaStream();
  viewer.ontrack = ({ track }) => stream.addTrack(track);
  const played = await connect(viewer, whep);
  video.srcObject = stream;
  await video.play();

  const numbers = [];
  const canvas = new OffscreenCanvas(512, 512);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  await new Promise((resolve) => {
    const take = () => {
      context.drawImage(video, 0, 0, 512, 512);
      const row = context.getImageData(0, 12, 384, 1).data;
      let number = 0;
      for (let bit = 0; bit < 16; bit++) {
        if (row[4 * (bit * 24 + 12) + 1] > 128) number |= 1 << bit;
      }
      numbers.push(number);
      if (numbers.length === frames) resolve();
      else video.requestVideoFrameCallback(take);
    };
    video.requestVideoFrameCallback(take);
  });
  const out = { numbers, left: [] };
  const reports = await viewer.getStats();
  for (const report of reports.values()) {
    if (report.type !== "inbound-rtp") continue;
    out[report.kind] = { ...report, codec: reports.get(report.codecId).mimeType };
  }
  for (const [pc, resource] of [[viewer, played], [source, published]]) {
    out.left.push((await fetch(resource, { method: "DELETE" })).status);
    pc.close();
  }
  video.remove();
  for (const track of captured.getTracks()) track.stop();
  return out;
}
