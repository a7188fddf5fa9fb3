// Where the sound comes from: the microphone, or a clip played into the connection.

export class VoiceError extends Error {}

const CLIP = "static/sample.wav";
const CLIP_GAP = 1.2; // seconds of silence before the clip starts again

const CONSTRAINTS = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
};

const SENTENCES = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it in the address bar, or choose the sample clip.",
  NotFoundError: "No microphone was found. Plug one in, or choose the sample clip.",
  NotReadableError: "The microphone is in use by another program. Close that program, or choose the sample clip.",
  OverconstrainedError: "The microphone cannot be used as it is. Try another one, or choose the sample clip.",
};

async function openMicrophone() {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    throw new VoiceError(
      "Browsers give the microphone only to https pages and to localhost. Open this page that way, or choose the sample clip.",
    );
  }
  try {
    return await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
  } catch (error) {
    throw new VoiceError(SENTENCES[error.name] ?? `The microphone cannot be used: ${error.message}`);
  }
}

async function openClip(context) {
  const response = await fetch(CLIP);
  if (!response.ok) throw new VoiceError("The sample clip is missing on the server.");
  const clip = await context.decodeAudioData(await response.arrayBuffer());
  const padded = context.createBuffer(1, clip.length + CLIP_GAP * context.sampleRate, context.sampleRate);
  padded.copyToChannel(clip.getChannelData(0), 0);
  const source = new AudioBufferSourceNode(context, { buffer: padded, loop: true });
  const output = context.createMediaStreamDestination();
  source.connect(output);
  return { stream: output.stream, play: () => source.start() };
}

export class Voice {
  // kind: "microphone" or "sample". Raises VoiceError with a sentence for the user.
  static async open(kind) {
    const voice = new Voice();
    voice.kind = kind;
    voice.context = new AudioContext();
    try {
      if (kind === "sample") {
        Object.assign(voice, await openClip(voice.context));
      } else {
        voice.stream = await openMicrophone();
        voice.play = () => {};
      }
    } catch (error) {
      voice.context.close();
      throw error;
    }
    voice.context.resume();
    voice.analyser = new AnalyserNode(voice.context, { fftSize: 1024 });
    voice.context.createMediaStreamSource(voice.stream).connect(voice.analyser);
    voice.samples = new Float32Array(voice.analyser.fftSize);
    return voice;
  }

  // Start the clip, once, when somebody listens.
  begin() {
    this.play();
    this.play = () => {};
  }

  set muted(value) {
    for (const track of this.stream.getAudioTracks()) track.enabled = !value;
  }

  // 0 to 1, -60 dB to 0 dB.
  get level() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length;
    return Math.min(1, Math.max(0, 1 + (10 * Math.log10(power + 1e-12)) / 60));
  }

  close() {
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
  }
}
