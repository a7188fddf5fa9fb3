"""``python -m benchmarks.quality.document RESULT.json``: the report as Markdown, to stdout."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.quality import mouth, targets
from benchmarks.quality.pictures import MEASURES
from benchmarks.quality.reenacted import METHODS
from benchmarks.report import Result, title

_HEADS = {"ours": "ours", "affine": "bent mesh, dark mouth", "frozen": "frozen photo"}


def document(result: Result) -> str:
    """The whole result; what the measures are stands in docs/rendering.md."""
    parts = [
        "# The renderer's pictures, measured",
        f"`{result.command}`, {title(result)}. What the measures mean and how to read them: "
        "[rendering.md](../rendering.md).",
        "![gains, shapes, identity, lips](render_quality.png)",
        "## Self-reenactment", "\n".join(_self(result)),
        "## Inside the mouth", "\n".join(_mouths(result)),
        "## Speech with head motion", "\n".join(_portraits(result)),
        "## Followed shapes", "\n".join(_shapes(result)),
        "## Promises not kept", "\n".join(f"* {text}" for text in result.failures) or "None.",
        *(["\n".join(f"* {note}" for note in result.notes)] if result.notes else []),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _self(result: Result) -> Iterator[str]:
    figures = result.figures
    yield from _head("measure", *_HEADS.values(), "gain over mesh (95 %)", "gain over photo (95 %)")
    for part, prefix in (("whole", ""), ("mouth box", "mouth_")):
        for measure, label in MEASURES.items():
            name = prefix + measure
            digits = 2 if measure == "psnr" else 3
            cells = [f"{figures[f'self_{name}_{method}']:.{digits}f}" for method in METHODS]
            for method in METHODS[1:]:
                key = f"gain_{name}_over_{method}"
                ends = [figures.get(f"{key}{end}", float("nan")) for end in ("_low", "_high")]
                gain = f"{figures[key]:+.{digits}f}"
                cells.append(f"{gain} ({ends[0]:+.{digits}f} to {ends[1]:+.{digits}f})")
            yield _row(f"{part}, {label}", *cells)
    sharp = [f"{figures[f'self_sharpness_{method}']:.2f}" for method in METHODS]
    yield _row("sharpness over the real frame's", *sharp, "", "")
    yield ""
    yield from _head("clip: ours / mesh / photo", "PSNR", "mouth PSNR", "mouth SSIM")
    wanted = (("psnr", 1), ("mouth_psnr", 1), ("mouth_ssim", 2))
    for place, clip in enumerate(result.config["clips"]):
        cells = []
        for name, digits in wanted:
            values = [result.samples[f"self_{name}_{method}"][place] for method in METHODS]
            cells.append(" / ".join(f"{value:.{digits}f}" for value in values))
        yield _row(clip, *cells)
    yield ""
    for name, unit in (("flicker", "within the face"), ("background", "beyond the person")):
        keys = [f"self_{name}_{who}" for who in ("ours", "real")]
        if all(key in figures for key in keys):
            ours, real = (figures[key] for key in keys)
            yield f"* {name} {unit}: ours {ours:.2f} levels, the real clips' own {real:.2f}"


def _mouths(result: Result) -> Iterator[str]:
    figures, rows = result.figures, result.samples
    names = [n for n in (*METHODS, "real") if f"mouth_features_{n}" in rows]
    yield f"{figures['mouths']:.0f} open mouths of {figures['clips']:.0f} talkers."
    yield ""
    yield from _head("", *(_HEADS.get(name, name) for name in names))
    for place, what in enumerate(mouth.NAMES):
        yield _row(what, *(f"{rows[f'mouth_features_{name}'][place]:.2f}" for name in names))
    keys = [*(f"mouth_distance_{name}" for name in METHODS), "mouth_distance_real_halves"]
    if all(key in figures for key in keys):
        last = f"{figures[keys[-1]]:.2f} (its halves)"
        yield _row("**Fréchet distance**", *(f"{figures[key]:.2f}" for key in keys[:-1]), last)


def _portraits(result: Result) -> Iterator[str]:
    figures, rows = result.figures, result.samples
    wanted = (
        ("identity, mean of portraits", "identity_mean"), ("worst frame", "identity_worst"),
        ("sharpness over the photo's", "speech_sharp"),
        ("of the softest portrait", "speech_sharp_least"),
        ("flicker, levels", "speech_flicker"), ("of the stillest frames, levels", "speech_still"),
        ("the most those are told to move, px", "speech_still_px"),
        ("background, levels off the photo", "speech_background"),
        ("drawing a frame, p50 ms", "render_p50_ms"), ("its CPU time, p50 ms", "render_cpu_p50_ms"),
    )  # fmt: skip
    yield from _head("", f"{figures['portraits']:.0f} portraits")
    yield from (_row(label, f"{figures[name]:.3f}") for label, name in wanted if name in figures)
    yield ""
    yield from _head("portrait", "identity, mean / worst", "sharpness", "lip gap, px", "bare, px")
    blank: Sequence[float] = [float("nan")] * len(result.config["portraits"])
    columns = [rows.get(name, blank) for name in
               ("identity", "identity_worst", "speech_sharp", "lip_gap_px", "bare_px")]  # fmt: skip
    for name, mean, worst, sharp, gap, bare in zip(
        result.config["portraits"], *columns, strict=True
    ):
        yield _row(name, f"{mean:.2f} / {worst:.2f}", f"{sharp:.2f}", f"{gap:.1f}", f"{bare:.0f}")


def _shapes(result: Result) -> Iterator[str]:
    visible = result.config["visible_shapes"]
    yield "Mean over portraits; those promised 0.8, and what else the network sees in real talkers."
    yield ""
    yield from _head("shape", "correlation", "promised", "slope")
    for name in sorted(visible, key=lambda n: -result.figures[f"follow_{n}"]):
        least = targets.FOLLOW_STRICT if name in targets.STRICT else targets.FOLLOW
        slopes = result.samples[f"slope_{name}"]
        value = f"{result.figures[f'follow_{name}']:.2f}"
        yield _row(name, value, f"{least}", f"{sum(slopes) / len(slopes):.2f}")


def main(argv: list[str] | None = None) -> None:
    """Print the Markdown of a result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.document")
    parser.add_argument("result", type=Path, help="written by render-quality --json")
    path = parser.parse_args(argv).result
    sys.stdout.write(document(Result(**json.loads(path.read_text()))))


if __name__ == "__main__":
    main()
