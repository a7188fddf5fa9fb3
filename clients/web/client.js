// The page: buttons, avatars, messages and figures around one connection.

import { Connection, call } from "./connection.js";
import { Voice, VoiceError } from "./voice.js";

const RETRIES = [1, 2, 4, 8, 8]; // seconds before each attempt to reconnect
const CAPTURE_MS = 20; // the browser hands out sound in blocks of about this length

const $ = (id) => document.getElementById(id);
const stage = document.querySelector(".stage");
const state = { voice: null, connection: null, running: false, avatar: null, photo: null, attempts: 0, timer: 0, server: null, ice: {}, ready: false };
const token = readToken();
window.vivace = state; // for tests and the curious

function readToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem("token") ?? "";
}

function show(text, kind = "idle") {
  $("status").textContent = text;
  $("status").dataset.state = kind;
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").querySelector("p").textContent = text ?? "";
}

function chosenSource() {
  return document.querySelector("input[name=source]:checked").value;
}

// ---- starting and stopping

async function start() {
  state.running = true;
  state.attempts = 0;
  notice("");
  refresh();
  try {
    show("Opening the sound source", "busy");
    state.voice = await Voice.open(chosenSource());
  } catch (error) {
    stop();
    show("Not connected", "error");
    notice(error instanceof VoiceError ? error.message : `The sound cannot be opened: ${error.message}`);
    return;
  }
  if (!state.running) return stop();
  // Hearing oneself a moment later disturbs speaking; a clip is there to be heard.
  listen(state.voice.kind === "sample");
  await connect();
}

async function connect() {
  show(state.attempts ? "Reconnecting" : "Connecting", "busy");
  const { voice, avatar, ice } = state;
  const resume = sessionStorage.getItem("resume");
  const connection = new Connection({ voice: voice.stream, avatar, ice, token, resume });
  state.connection = connection;
  connection.addEventListener("stream", (event) => {
    $("video").srcObject = event.detail;
    // Sound without a click may be refused; a second track interrupts the first play(), which is fine.
    $("video").play().catch((error) => error.name === "NotAllowedError" && listen(false));
  });
  connection.addEventListener("connected", () => {
    state.attempts = 0;
    show("Waiting for the first picture", "busy");
    state.voice.begin();
  });
  connection.addEventListener("message", (event) => receive(event.detail));
  connection.addEventListener("lost", () => state.connection === connection && retry("Connection lost"));
  try {
    await connection.open();
    sessionStorage.setItem("resume", connection.resume);
    mark(connection.avatar);
  } catch (error) {
    connection.suspend();
    if (state.connection !== connection) return;
    if (error.status === 404) await loadAvatars();
    if (error.status === 503) retry(error.message, error.retryAfter);
    else if (error.status === 0 && state.attempts) retry(error.message);
    else fail(error.message);
  }
}

function retry(reason, seconds) {
  stage.classList.remove("live");
  state.connection = null;
  const wait = seconds || RETRIES[state.attempts];
  if (state.attempts >= RETRIES.length) return fail(`${reason}. Press Start to try again.`);
  state.attempts += 1;
  show(`${reason} Trying again in ${wait} s`.replace(/([^.])( Trying)/, "$1.$2"), "busy");
  state.timer = setTimeout(connect, wait * 1000);
}

function fail(message) {
  stop();
  show("Not connected", "error");
  notice(message);
}

// keep: the session may be resumed, as when the page is loaded again.
function stop(keep = false) {
  clearTimeout(state.timer);
  state.running = false;
  const { connection, voice } = state;
  state.connection = state.voice = state.server = null;
  if (keep) connection?.suspend();
  else {
    connection?.close();
    sessionStorage.removeItem("resume");
  }
  voice?.close();
  stage.classList.remove("live");
  $("video").srcObject = null;
  $("level").value = 0;
  for (const id of ["latency", "fps", "bitrate", "rtt"]) $(id).textContent = "–";
  show("Not connected");
  refresh();
}

function receive(message) {
  if (message.type === "stats") state.server = message;
  if (message.type === "error") notice(message.message);
  if (message.type === "session_ending") notice(`The session ends in ${Math.round(message.in_s)} s: ${message.reason}.`);
  if (message.type === "degraded") show(message.level ? "Live, reduced to keep pace" : "Live", "live");
}

// ---- controls

function refresh() {
  const button = $("start");
  button.textContent = state.running ? "Stop" : "Start";
  button.classList.toggle("stop", state.running);
  button.disabled = !state.running && !state.ready;
  $("mute").disabled = $("speaker").hidden = !state.running;
  setMuted(false);
}

function setMuted(muted) {
  $("mute").setAttribute("aria-pressed", muted);
  $("mute").textContent = muted ? "Muted" : "Mute";
  if (state.voice) state.voice.muted = muted;
}

function listen(on) {
  $("video").muted = !on;
  $("speaker").setAttribute("aria-pressed", on);
  $("speaker").textContent = on ? "Sound is on" : "Sound is off";
  $("speaker").title = on ? "" : "Off so that you do not hear yourself";
}

$("start").onclick = () => (state.running ? stop() : start());
$("mute").onclick = () => setMuted($("mute").getAttribute("aria-pressed") !== "true");
$("speaker").onclick = () => listen($("video").muted);
$("notice").querySelector("button").onclick = () => notice("");
$("theme").onclick = () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "light" : "dark";
};
$("video").addEventListener("playing", () => {
  if (!state.connection) return;
  stage.classList.add("live");
  show("Live", "live");
});
for (const input of document.querySelectorAll("input[name=source]")) {
  input.onchange = () => {
    if (!state.running) return;
    stop();
    start();
  };
}
addEventListener("pagehide", () => stop(true));

// ---- avatars

async function loadAvatars() {
  const entries = await (await call("avatars", {}, token)).json();
  if (!entries.some((entry) => entry.id === state.avatar)) state.avatar = entries[0]?.id ?? null;
  $("avatars").replaceChildren(...await Promise.all(entries.map(tile)));
  $("avatars").hidden = entries.length < 2;
}

async function tile(entry) {
  // Pictures are fetched, not linked: an <img> cannot send the token.
  const blob = await (await call(entry.picture.slice(1), {}, token)).blob();
  const [label, input, image, name] = ["label", "input", "img", "span"].map((tag) => document.createElement(tag));
  const uploaded = entry.created !== null;
  Object.assign(input, { type: "radio", name: "avatar", value: entry.id, checked: entry.id === state.avatar });
  image.src = URL.createObjectURL(blob);
  image.alt = ""; // the name beside it says who it is
  name.textContent = entry.name || (uploaded ? "Yours" : "Default");
  input.onchange = () => choose(entry.id, image.src);
  if (input.checked) $("poster").src = image.src;
  label.append(input, image, name);
  if (uploaded) label.append(bin(entry.id));
  return label;
}

function bin(id) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: "✕", title: "Delete this photo from the server" });
  button.setAttribute("aria-label", button.title);
  button.onclick = async (event) => {
    event.preventDefault(); // the tile around it would be chosen
    try {
      await call(`avatars/${id}`, { method: "DELETE" }, token);
      await loadAvatars();
    } catch (error) {
      notice(error.message);
    }
  };
  return button;
}

// A resumed session shows who it showed before.
function mark(id) {
  state.avatar = id;
  const input = [...document.querySelectorAll("input[name=avatar]")].find((tile) => tile.value === id);
  if (!input) return;
  input.checked = true;
  $("poster").src = input.nextSibling.src;
}

function choose(id, picture) {
  state.avatar = id;
  sessionStorage.removeItem("resume"); // another face is another session
  $("poster").src = picture;
  if (!state.running || !state.voice) return;
  state.connection?.close();
  clearTimeout(state.timer);
  stage.classList.remove("live");
  connect();
}

async function upload(file) {
  if (!file) return;
  if (!$("consent").checked) {
    state.photo = file; // taken as soon as the box is ticked
    $("droptext").textContent = file.name;
    notice("Please confirm first that the person in the photo agrees.");
    $("consent").focus();
    return;
  }
  notice("");
  $("drop").classList.add("busy");
  $("droptext").textContent = "Preparing your photo…";
  try {
    const body = new FormData();
    body.set("consent", $("statement").textContent);
    body.set("photo", file);
    const entry = await (await call("avatars", { method: "POST", body }, token)).json();
    state.avatar = entry.id;
    await loadAvatars();
    choose(entry.id, $("poster").src);
  } catch (error) {
    notice(error.message);
  } finally {
    $("drop").classList.remove("busy");
    $("droptext").innerHTML = "Drop a photo here, or <u>choose one</u>";
    $("photo").value = "";
    $("consent").checked = false; // another photo may show another person
  }
}

$("consent").onchange = () => {
  const file = state.photo;
  state.photo = null;
  if ($("consent").checked) upload(file);
  else state.photo = file;
};
$("photo").onchange = () => upload($("photo").files[0]);
for (const type of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", type === "dragover");
    if (type === "drop") upload(event.dataTransfer.files[0]);
  });
}

// ---- figures

async function figures() {
  const numbers = await state.connection?.figures();
  if (!numbers || !state.connection) return;
  $("fps").textContent = `${Math.round(numbers.fps)} fps`;
  $("bitrate").textContent = `${Math.round(numbers.kbps)} kb/s`;
  $("rtt").textContent = numbers.rtt === null ? "–" : `${Math.round(numbers.rtt)} ms`;
  if (!state.server) return;
  const { delay_ms: delay, encode_ms: encode } = state.server;
  const total = CAPTURE_MS + delay + encode + (numbers.rtt ?? 0) + numbers.buffer;
  $("latency").textContent = `${Math.round(total)} ms`;
}

setInterval(figures, 1000);
setInterval(() => { if (state.voice) $("level").value = state.voice.level; }, 80);

// ---- beginning

async function begin() {
  try {
    const response = await fetch("readyz");
    state.ready = response.ok;
  } catch {
    state.ready = false;
  }
  if (!state.ready) {
    show("The engine is starting", "busy");
    setTimeout(begin, 700);
    return;
  }
  try {
    state.ice = await (await call("ice", {}, token)).json();
    await loadAvatars();
    show("Not connected");
  } catch (error) {
    show("Not connected", "error");
    notice(error.status === 401 ? "This server asks for a token. Open the page with #token=… at the end of its address." : error.message);
    state.ready = error.status !== 401;
  }
  refresh();
}

if (!window.isSecureContext) document.querySelector("input[value=sample]").checked = true;
begin();
