"""What the renderer promises, and which of it the figures break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

STRICT = (
    "jawOpen", "mouthPucker", "mouthFunnel", "mouthSmileLeft", "mouthSmileRight",
    "eyeBlinkLeft", "eyeBlinkRight",
)  # fmt: skip
FOLLOW_STRICT, FOLLOW = 0.8, 0.6
"""Least correlation of commanded and read blendshape: those above; all others that are visible."""
VISIBLE = 0.05
"""Spread (5 to 95 %) of a score over real talkers below which the network does not see a shape."""
IDENTITY_MEAN, IDENTITY_WORST = 0.35, 0.5
LIP_GAP = 1.5  # pixels at 512 x 512
RENDER_MS = 15.0
Figures = Mapping[str, float]


def missed(
    figures: Figures, samples: Mapping[str, Sequence[float]], visible: Sequence[str]
) -> list[str]:
    """Every promise that is not kept, in words.

    Args:
        figures: of the report.
        samples: of the report, for what every portrait must fulfil.
        visible: shapes that the blendshape network sees.
    """
    found = [
        f"{name.removeprefix('gain_')}: gain {figures[name]:+.3f}, at least {low:+.3f}"
        for name, low in ((n.removesuffix("_low"), figures[n]) for n in figures if n[-4:] == "_low")
        if not low > 0
    ]
    limits = {"identity_mean": IDENTITY_MEAN, "identity_worst": IDENTITY_WORST,
              "render_p50_ms": RENDER_MS}  # fmt: skip
    found += [
        f"{name} {figures[name]:.3f}, promised {limit} at most"
        for name, limit in limits.items()
        if name in figures and not figures[name] <= limit
    ]
    wide = [gap for gap in samples["lip_gap_px"] if not gap < LIP_GAP]
    if wide:
        found.append(
            f"closed lips {LIP_GAP} px or more apart on {len(wide)} of "
            f"{len(samples['lip_gap_px'])} portraits, at most {max(wide):.1f} px"
        )
    for name in visible:
        least = FOLLOW_STRICT if name in STRICT else FOLLOW
        if figures[f"follow_{name}"] < least:
            found.append(f"{name} follows with {figures[f'follow_{name}']:.2f}, promised {least}")
    return found
