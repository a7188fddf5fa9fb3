// One WebRTC connection to the engine: a voice track goes out, the avatar's picture and sound come back.
// No page in here, so that other pages can use it.

const GATHER_MS = 1500;
const PING_MS = 1000;
const LOST_MS = 5000;

export class ServerError extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

// A request with the token, if there is one; errors carry the server's own sentence.
export async function call(path, options = {}, token = "") {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new ServerError("The server does not answer. Is it still running?", 0, 0);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const retry = Number(response.headers.get("Retry-After")) || 0;
    throw new ServerError(body.message || `The server answered ${response.status}.`, response.status, retry);
  }
  return response;
}

export class Connection extends EventTarget {
  // Events: "stream" (detail: MediaStream), "message" (detail: object), "connected", "lost".
  // ice: the server's answer to GET /ice. resume: what an earlier connection had in .resume.
  constructor({ voice, avatar, ice = {}, token = "", motion = false, resume = null }) {
    super();
    this.token = token;
    this.avatar = avatar;
    this.resume = resume;
    this.id = null;
    this.heard = 0;
    this.pings = 0;
    this.closed = false;
    this.pc = new RTCPeerConnection(ice);
    this.stream = new MediaStream();
    this.previous = null;
    for (const track of voice.getAudioTracks()) this.pc.addTrack(track, voice);
    if (!voice.getAudioTracks().length) this.pc.addTransceiver("audio", { direction: "recvonly" });
    this.pc.addTransceiver("video", { direction: "recvonly" });
    this.control = this.pc.createDataChannel("control");
    this.control.onopen = () => {
      if (motion) this.send({ type: "subscribe", motion: true });
      this.heard = performance.now();
      this.pings = setInterval(() => this.ping(), PING_MS);
    };
    this.control.onmessage = (event) => {
      this.heard = performance.now();
      this.tell("message", JSON.parse(event.data));
    };
    this.control.onclose = () => this.lose();
    this.pc.ontrack = (event) => {
      this.stream.addTrack(event.track);
      this.tell("stream", this.stream);
    };
    this.pc.onconnectionstatechange = () => {
      if (this.pc.connectionState === "connected") this.tell("connected");
      if (["failed", "closed"].includes(this.pc.connectionState)) this.lose();
    };
  }

  async open() {
    await this.pc.setLocalDescription(await this.pc.createOffer());
    await this.gathered();
    const { sdp, type } = this.pc.localDescription;
    const response = await call("offer", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ sdp, type, avatar: this.avatar ?? null, resume: this.resume }),
    }, this.token);
    const answer = await response.json();
    this.id = answer.id;
    this.resume = answer.resume;
    this.avatar = answer.avatar;
    if (this.closed) return this.leave();
    await this.pc.setRemoteDescription(answer);
  }

  // The server takes all candidates with the offer.
  gathered() {
    if (this.pc.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => this.pc.iceGatheringState === "complete" && resolve();
      this.pc.addEventListener("icegatheringstatechange", done);
      setTimeout(resolve, GATHER_MS);
    });
  }

  send(message) {
    if (this.control.readyState === "open") this.control.send(JSON.stringify(message));
  }

  replaceVoice(track) {
    const sender = this.pc.getSenders().find((s) => s.track?.kind === "audio");
    return sender?.replaceTrack(track);
  }

  // Neither side hears of a dead network by itself for half a minute.
  ping() {
    if (performance.now() - this.heard > LOST_MS) this.lose();
    else this.send({ type: "ping", t: Date.now() });
  }

  close() {
    if (this.closed) return;
    this.leave();
    this.suspend();
  }

  // Go without saying goodbye: the session waits for a while to be resumed.
  suspend() {
    this.closed = true;
    clearInterval(this.pings);
    this.pc.close();
  }

  // keepalive: the request survives the page.
  leave() {
    if (!this.id) return;
    call(`sessions/${this.id}`, { method: "DELETE", keepalive: true }, this.token).catch(() => {});
    this.id = null;
  }

  lose() {
    if (this.closed) return;
    this.suspend();
    this.tell("lost");
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Numbers since the last call: fps, kilobits per second, round trip and receive buffer in ms.
  async figures() {
    const now = { time: performance.now() };
    let rtt = null;
    for (const report of (await this.pc.getStats()).values()) {
      if (report.type === "inbound-rtp" && report.kind === "video") {
        now.bytes = report.bytesReceived;
        now.frames = report.framesDecoded;
        now.delay = report.jitterBufferDelay;
        now.emitted = report.jitterBufferEmittedCount;
      }
      if (report.type === "candidate-pair" && report.nominated && report.currentRoundTripTime !== undefined) {
        rtt = report.currentRoundTripTime * 1000;
      }
    }
    const before = this.previous;
    this.previous = now;
    if (!before || now.frames === undefined || before.frames === undefined) return null;
    const seconds = (now.time - before.time) / 1000;
    const emitted = now.emitted - before.emitted;
    return {
      fps: (now.frames - before.frames) / seconds,
      kbps: ((now.bytes - before.bytes) * 8) / seconds / 1000,
      rtt,
      buffer: emitted > 0 ? ((now.delay - before.delay) / emitted) * 1000 : 0,
    };
  }
}
