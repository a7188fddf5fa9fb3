"""How well the watermark is found again, how rarely where there is none, and what it costs.

The default avatar and the astronaut speak the sample (rendered unmarked, then marked), and go
through the server's own encoder settings. ``found`` is the share of pieces in which the mark was
found, ``read`` the share whose payload came back right. ``unmarked`` takes videos that are not
ours: with the public key as ``engine.verify`` does, and with other keys, each of which is an
independent trial. Videos and further portraits come from ``../shared/data``; without it those parts
are left out and the result says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data
from skimage.metrics import structural_similarity
from tqdm import tqdm

from benchmarks.report import Result, title
from benchmarks.stages import SAMPLE
from engine.animate import animate
from engine.app import default_portrait
from engine.config import EngineConfig, ProvenanceConfig
from engine.errors import PortraitError
from engine.media import FPS, AudioChunk, MotionFrame, UInt8, VideoFrame
from engine.provenance.code import Code, Payload
from engine.provenance.detect import MAX_SIDE, Detector, Finding
from engine.provenance.mark import Mark
from engine.transport.encoder import open_h264, open_vp8
from engine.transport.files import read_audio
from engine.transport.video import GreyVideo

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
NUMBER = 271828
RATES = (200, 300, 500, 1000)
CODECS = {"vp8": open_vp8, "h264": open_h264}
_STILL = MotionFrame(np.zeros(58, np.float32), 0.0, 0)
_PICTURES = (".jpg", ".jpeg", ".png")
Pictures = Sequence[UInt8]


def run(quick: bool, command: str) -> Result:
    """6 s of each of two avatars, all videos, 12 portraits (quick: 3 s, 2 videos, no portraits)."""
    seconds = 3 if quick else 6
    rates = (500,) if quick else RATES
    changes = dict(islice(_CHANGES.items(), 2)) if quick else _CHANGES
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    notes = ["z: of the reference, in standard deviations of chance; found and read: shares of 1"]
    sources = {"default": default_portrait(), "astronaut": data.astronaut()}
    plain = {name: _render(source, seconds) for name, source in sources.items()}
    marked = {name: _mark(frames) for name, frames in plain.items()}
    for name, frames in plain.items():
        figures |= _visibility(name, frames, marked[name])
    figures |= _cost(marked["default"][0])
    for codec in CODECS:
        for rate in rates:
            label = f"{codec}_{rate}"
            sent = [send(frames, codec, rate) for frames in marked.values()]
            for length in (1, 2):
                found = [_look(p) for frames in sent for p in _pieces(frames, length)]
                figures |= _shares(f"{label}_{length}s", found)
                samples[f"{label}_{length}s_z"] = [round(f.z, 2) for f in found]
    for label, change in changes.items():
        found = [_look(change(send(frames[: 3 * FPS], "vp8", 500))) for frames in marked.values()]
        figures |= _shares(label, found)
        samples[f"{label}_z"] = [round(f.z, 2) for f in found]
    one = [_look(p[:1]) for frames in marked.values() for p in _pieces(frames, 1)]
    figures |= _shares("one_picture", one)
    if SHARED.is_dir():
        if not quick:
            found = list(_portraits(12))
            figures |= _shares("portraits_vp8_500_2s", found) | {"portraits": float(len(found))}
            samples["portraits_vp8_500_2s_z"] = [round(f.z, 2) for f in found]
        figures |= _unmarked(2 if quick else None, 1 if quick else 4, samples)
    else:
        notes.append("no ../shared/data here: unmarked videos and further portraits left out")
    settings = {
        "seconds": seconds,
        "rates": rates,
        "encoder": "engine.transport.encoder",
        "number": NUMBER,
    }
    return Result("watermark", command, settings, samples, figures, notes)


def _render(portrait: Path | UInt8, seconds: int) -> list[UInt8]:
    """Unmarked pictures of somebody who speaks the sample."""
    sound = read_audio(SAMPLE)
    sound = AudioChunk(sound.samples[: seconds * sound.rate], 0, sound.rate)
    config = EngineConfig(provenance=ProvenanceConfig(visible=False, watermark=False))
    return [frame.image for frame in animate(portrait, sound, config)]


def _mark(frames: Pictures) -> list[UInt8]:
    """The invisible mark alone, as the stage adds it (the visible one helps nobody find it)."""
    mark = Mark(ProvenanceConfig(number=NUMBER, visible=False), frames[0])
    return [next(iter(mark.push(VideoFrame(f, _STILL, i)))).image for i, f in enumerate(frames)]


def send(frames: Pictures, codec: str, kbit: int) -> list[UInt8]:
    """What a receiver sees, RGB."""
    height, width = frames[0].shape[:2]
    encoder = CODECS[codec](width, height, 1000 * kbit)
    decoder = av.CodecContext.create(codec, "r")
    packets = []
    for index, frame in enumerate(frames):
        planes = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), np.uint8)
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.pts = index
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    decoded = [f for p in packets for f in decoder.decode(av.Packet(bytes(p)))]
    return [f.to_ndarray(format="rgb24") for f in [*decoded, *decoder.decode(None)]]


def _look(frames: Pictures) -> Finding:
    detector = Detector()
    for index, frame in enumerate(frames):
        detector.add(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8), index / FPS)
    return detector.search()


def _pieces(frames: Pictures, seconds: int) -> Iterator[Pictures]:
    """Whole pieces, one after the other; the first begins with the key frame."""
    step = seconds * FPS
    for start in range(0, len(frames) - step + 1, step):
        yield frames[start : start + step]


def _shares(label: str, found: Sequence[Finding]) -> dict[str, float]:
    return {
        f"{label}_found": round(float(np.mean([f.found for f in found])), 4),
        f"{label}_read": round(float(np.mean([f.payload == Payload(NUMBER) for f in found])), 4),
        f"{label}_z_min": round(min(f.z for f in found), 2),
    }


def _resize(frames: Pictures, side: int) -> list[UInt8]:
    way = cv2.INTER_AREA if side < frames[0].shape[0] else cv2.INTER_LINEAR
    return [np.asarray(cv2.resize(f, (side, side), interpolation=way), np.uint8) for f in frames]


def _screen(frames: Pictures, side: int, size: tuple[int, int]) -> list[UInt8]:
    """A recording of a page with lines of text around the picture."""
    rng = np.random.default_rng(0)
    width, height = size
    page = np.full((height, width, 3), 244, np.uint8)
    for top in range(20, height - 10, 24):
        page[top : top + 10, 30 : 30 + int(rng.integers(100, width - 60))] = 40
    left, top = width - side - 37, (height - side) // 2
    shots = []
    for frame in _resize(frames, side)[::2]:
        page[top : top + side, left : left + side] = frame
        shots.append(page.copy())
    return send(shots, "h264", 1500)


_CHANGES: dict[str, Callable[[Pictures], Pictures]] = {
    "again_h264_500": lambda f: send(f, "h264", 500),
    "to_384_h264_300": lambda f: send(_resize(f, 384), "h264", 300),
    "to_384_and_back": lambda f: _resize(_resize(f, 384), 512),
    "to_256_h264_150": lambda f: send(_resize(f, 256), "h264", 150),
    "to_768_h264_800": lambda f: send(_resize(f, 768), "h264", 800),
    "cropped_10_percent": lambda f: [np.ascontiguousarray(p[26:486, 26:486]) for p in f],
    "brightness": lambda f: [cv2.convertScaleAbs(p, alpha=1.0, beta=25) for p in f],
    "contrast": lambda f: [cv2.convertScaleAbs(p, alpha=1.3, beta=-25) for p in f],
    "mirrored": lambda f: [np.ascontiguousarray(p[:, ::-1]) for p in f],
    "screen_480_of_1280x720": lambda f: _screen(f, 480, (1280, 720)),
    "screen_640_of_1280x720": lambda f: _screen(f, 640, (1280, 720)),
    "screen_1024_of_1920x1080": lambda f: [
        np.asarray(cv2.resize(p, (1280, 720), interpolation=cv2.INTER_AREA), np.uint8)
        for p in _screen(f, 1024, (1920, 1080))
    ],
}
"""What is done to three seconds that were received as VP8 at 500 kbit/s."""


def _visibility(name: str, plain: Pictures, marked: Pictures) -> dict[str, float]:
    chosen = range(0, len(plain), 10)
    psnr = [cv2.PSNR(plain[i], marked[i]) for i in chosen]
    ssim = [structural_similarity(plain[i], marked[i], channel_axis=2) for i in chosen[::4]]
    changes = np.stack([marked[i].astype(np.int16) - plain[i] for i in chosen])
    coded = [send(frames[: 3 * FPS], "vp8", 500) for frames in (plain, marked)]
    quality = [
        float(np.mean([cv2.PSNR(a, b) for a, b in zip(sent, frames, strict=False)]))
        for sent, frames in zip(coded, (plain, marked), strict=True)
    ]
    return {
        f"{name}_psnr_db": round(float(np.mean(psnr)), 2),
        f"{name}_ssim": round(float(np.mean(ssim)), 4),
        # Of a change that stands still: 0 but for pixels that reach black or white.
        f"{name}_flicker_levels": round(float(changes.std(0).mean()), 4),
        f"{name}_coding_loss_db": round(quality[0] - quality[1], 2),
    }


def _cost(image: UInt8) -> dict[str, float]:
    """CPU milliseconds a picture, one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    figures = {}
    try:
        for name, config in {
            "mark_ms": ProvenanceConfig(),
            "watermark_ms": ProvenanceConfig(visible=False),
            "label_ms": ProvenanceConfig(watermark=False),
        }.items():
            mark, frame, times = Mark(config, image), VideoFrame(image, _STILL, 0), []
            for _ in range(300):
                start = time.thread_time()
                list(mark.push(frame))
                times.append((time.thread_time() - start) * 1000)
            figures[name] = round(float(np.median(times)), 3)
    finally:
        cv2.setNumThreads(threads)
    return figures


def _portraits(count: int) -> Iterator[Finding]:
    """Other people, two seconds each, as VP8 at 500 kbit/s."""
    photos = sorted(p for p in SHARED.glob("portrait/*/*") if p.suffix.lower() in _PICTURES)
    chosen = photos[:: max(1, len(photos) // (2 * count))]
    for photo in tqdm(islice(_usable(chosen), count), total=count, desc="portraits"):
        yield _look(send(_mark(photo), "vp8", 500))


def _usable(photos: Sequence[Path]) -> Iterator[list[UInt8]]:
    for photo in photos:
        try:
            yield _render(photo, 2)
        except PortraitError:
            continue  # the collection holds photos that are meant to be refused


def _unmarked(videos: int | None, keys: int, samples: dict[str, list[float]]) -> dict[str, float]:
    """Videos that are not ours: none may be found, under any key."""
    files = sorted(p for p in SHARED.glob("video/*/*") if p.suffix in (".mp4", ".mpg"))[:videos]
    codes = [Code(b"trial %d" % key) for key in range(keys)]
    public: list[Finding] = []
    trials: list[Finding] = []
    for file in tqdm(files, desc="unmarked"):
        greys = [(at, grey) for at, grey in GreyVideo(file, MAX_SIDE) if at < 6.0]
        public.append(_search(greys, None))
        trials += [_search(greys[: 2 * FPS], code) for code in codes]
    samples["unmarked_z"] = [round(f.z, 2) for f in [*public, *trials]]
    return {
        "unmarked_videos": float(len(public)),
        "unmarked_found": float(sum(f.found for f in public)),
        "unmarked_trials": float(len(trials)),
        "unmarked_trials_found": float(sum(f.found for f in trials)),
        "unmarked_z_max": max(samples["unmarked_z"]),
    }


def _search(greys: Sequence[tuple[float, UInt8]], code: Code | None) -> Finding:
    detector = Detector(code)
    for at, grey in greys:
        detector.add(grey, at)
    return detector.search()


def plot(result: Result, path: Path) -> None:
    """Strength by codec and bitrate, and of videos without the mark."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rates = result.config["rates"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2))
    for codec in CODECS:
        for length in (1, 2):
            series = [result.samples[f"{codec}_{rate}_{length}s_z"] for rate in rates]
            middle = [float(np.median(z)) for z in series]
            line = left.plot(rates, middle, marker="o", label=f"{codec}, {length} s")[0]
            low, high = [min(z) for z in series], [max(z) for z in series]
            left.fill_between(rates, low, high, alpha=0.12, color=line.get_color())
    left.set_xscale("log")
    left.set_xticks(rates, [str(rate) for rate in rates])
    left.set_xlabel("kbit/s, 512 × 512, 25 fps (band: weakest to strongest piece)")
    left.set_ylabel("z of the reference")
    left.set_ylim(bottom=0)
    left.legend()
    unmarked = result.samples.get("unmarked_z", [])
    right.hist(unmarked, bins=20, label=f"{len(unmarked)} searches without a mark")
    marked = [z for n in ("vp8_500_2s_z", "h264_500_2s_z") for z in result.samples[n]]
    right.hist(marked, bins=20, label=f"{len(marked)} marked pieces of 2 s at 500 kbit/s")
    right.set_xlabel("z of the best match")
    right.set_ylabel("searches")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(title(result), fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
