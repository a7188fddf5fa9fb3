"""``python -m training card``: ``docs/model_card.md`` from measured results.

Numbers come from the evaluation's JSON, from the networks' manifests and from the corpus's index;
words that no program can measure (what the data is, what it may be used for) are written here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.runtime.artifact import open_artifact
from training.evaluation.acceptance import at
from training.evaluation.document import document
from training.evaluation.sounds import CORPUS, voice_group
from training.evaluation.tables import show

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "motion_eval.json"
BENCHMARK = ROOT / "docs" / "results" / "motion.json"
CARD = ROOT / "docs" / "model_card.md"
SHIPPED = ("cmdt_k1", "cmdt_k2", "cmdt_k4")

LICENCES: dict[str, str] = {
    "flite": "synthesised by flite (BSD-like licence, voices included)",
    "festival": "synthesised by festival and its voices (see docs/corpus.md for each licence)",
    "espeak": "synthesised by espeak-ng (GPL program; it is not part of this project)",
    "espeak-foreign": "synthesised by espeak-ng in other languages",
    "kokoro": "synthesised by Kokoro (Apache-2.0 weights)",
    "piper": "synthesised by Piper",
    "neural": "synthesised by a neural voice carried by a package",
    "recorded:author_male": "recorded, one man, Apache-2.0 repository; used to drive motion only",
    "recorded:ljspeech": "recorded, LJ Speech, public domain",
    "tracked": "sound and tracked motion of clips under `../shared/data/video/train`: GRID (CC BY"
    " 4.0) and official addresses (likely public domain, not verified at source)",
    "listening": "silent while another voice of this table speaks",
    "sound": "noise, music, typing, silence, made here",
}
"""What kind of voice is what, for the table of the data."""

TRAINING = """"Trained steps" are those of the last stage; all stages, with their times, are in
[training.md](training.md#the-shipped-weights)."""
PEOPLE = """Beside these, where the videos are at hand (`python -m training people`): five GRID
clips (CC BY 4.0) and four official addresses of US office holders (likely public domain, not
verified at source), 73 seconds of sound with their tracked motion, four times each. No picture of
anybody went into these networks."""
USE = """**Made for** driving a face with speech: live, offline, for any ARKit face. **Not for**
showing a person say what they did not say: whoever animates a photo needs the consent of the one
shown. The network knows sound and motion only; it cannot tell who speaks, and clones no voice."""
LIMITS = """- Reference motion is mostly made by rules, calibrated on a dozen tracked clips: figures
  on the corpus say how well the network follows those rules, figures on real clips how near that
  comes to people.
- Real clips are few (under four minutes), and some were used for calibration; those are kept apart
  above. Intervals are over six-second pieces of few talkers and too narrow for new talkers.
- In several clips picture and sound are shifted against each other by up to three frames; hence two
  correlations, *as filed* and *in sync*.
- Lip opening is measured by landmarks, whose own noise inflates a real talker's jerk.
- The idle stage adds blinks, glances and sway, and shuts the mouth where the voice detector hears
  nobody: tables say which figures are the network's own.
- Singing, shouting, whispering, children and several talkers at once were not trained."""


def card(results: Mapping[str, Any], benchmark: Mapping[str, Any], corpus: Path) -> str:
    """The whole card as Markdown."""
    about = results.get("about", {})
    parts = [
        "# Model card: motion networks",
        "Written by `python -m training card` from `docs/results/motion_eval.json` "
        f"({str(about.get('date', ''))[:10]}); do not edit. The renderer's card is"
        " [engine/weights/MODEL_CARD_RENDER.md](../engine/weights/MODEL_CARD_RENDER.md).",
        "Sound to 3D face motion (ARKit-52, head rotation and translation) at 25 fps: a conditional"
        " motion diffusion transformer after Dimitra++ (arXiv 2502.17198, 2511.22488), remade for"
        " streaming: `engine/motion/network.py`, training `training/motion`.",
        USE,
        "## Networks",
        _networks(benchmark),
        "## Data",
        _data(corpus),
        "## Figures",
        *_figures(results),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _networks(benchmark: Mapping[str, Any]) -> str:
    figures = benchmark.get("figures", {})
    lines = [
        "| artifact | denoising steps | parameters as stored | GFLOP per s of motion"
        " | CPU ms per s of motion | precision | trained steps |",
        "|---|---|---|---|---|---|---|",
    ]
    inputs = ""
    for name in SHIPPED:
        try:
            artifact = open_artifact(name)
        except EngineError:
            continue
        config = artifact.config
        size = artifact.path.stat().st_size / 4e6
        step = config.get("steps", "–")
        gflop, cpu = (at(figures, f"motion_{x}_per_s_k{step}") for x in ("gflop", "cpu_ms"))
        cells = [f"`{name}`", str(step), f"{size:.2f} M", show(gflop, ".2f"), show(cpu, ".0f"),
                 artifact.precision, str(config.get("train_steps", "–"))]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
        dims = ", ".join(f"{k} {v}" for k, v in config.get("dims", {}).items())
        inputs = f"Inputs: {', '.join(artifact.inputs)}. Outputs: {', '.join(artifact.outputs)}.\n"
        inputs += f"Sizes: {dims}."
    return "\n".join(lines) + "\n\n" + inputs + "\n\n" + TRAINING


def _data(corpus: Path) -> str:
    index = corpus / "index.json"
    if not index.is_file():
        return "The corpus is not on this machine; `python -m training corpus` makes it."
    content = json.loads(index.read_text("utf-8"))
    seconds: Counter[tuple[str, str]] = Counter()
    voices: dict[str, set[str]] = {}
    for row in content["clips"]:
        group = voice_group(row["voice"])
        seconds[group, row["split"]] += row["seconds"]
        voices.setdefault(group, set()).add(row["voice"])
    total = sum(seconds.values()) / 3600
    lines = [
        f"`python -m training corpus`, seed {content.get('seed')}: {total:.1f} h,"
        f" {sum(map(len, voices.values()))} voices; kept out of training altogether:"
        f" {', '.join(content.get('held_out_voices', [])) or 'none'}. How it is made and what its"
        " motion is: [corpus.md](corpus.md). What the weights had learned from before, if they were"
        " trained further: [training.md](training.md#the-shipped-weights).",
        "",
        "| kind | voices | train, min | dev, min | what it is |",
        "|---|---|---|---|---|",
    ]
    for group in sorted(voices, key=lambda g: -seconds[g, "train"]):
        train, dev = seconds[group, "train"] / 60, seconds[group, "dev"] / 60
        what = LICENCES.get(group) or LICENCES.get(group.partition(":")[0], "–")
        lines.append(f"| {group} | {len(voices[group])} | {train:.1f} | {dev:.1f} | {what} |")
    return "\n".join([*lines, "", PEOPLE])


def _figures(results: Mapping[str, Any]) -> list[str]:
    """The evaluation's own sections, one level deeper, without its title."""
    text = document(results, "results/motion_eval")
    _, _, body = text.partition("\n\n")
    return [body.replace("\n### ", "\n#### ").replace("\n## ", "\n### ").strip()]


def main(argv: list[str]) -> int:
    """Write the card; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training card", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--benchmark", type=Path, default=BENCHMARK, help="JSON of python -m benchmarks motion"
    )
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--out", type=Path, default=CARD)
    options = parser.parse_args(argv)  # fmt: skip
    if not options.results.is_file():
        sys.stderr.write(f"{options.results} is missing; run python -m training evaluate\n")
        return 1
    results = json.loads(options.results.read_text("utf-8"))
    known = options.benchmark.is_file()
    benchmark = json.loads(options.benchmark.read_text("utf-8")) if known else {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(card(results, benchmark, options.corpus), "utf-8")
    sys.stdout.write(f"{options.out}\n")
    return 0
