"""The people this package can render: shape, colouring, hair and clothes, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.avatars.anatomy import Identity
from training.avatars.skin import Complexion

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Person:
    """Everything a portrait needs besides camera and light. Colours are sRGB in 0..1."""

    shape: Identity
    skin: Complexion
    iris: Colour
    brow: Mapping[str, float]
    melanin: float
    redness: float
    lashes: float = 1.0
    garment: Colour = (0.20, 0.30, 0.38)
    backdrop: tuple[Colour, Colour] = ((0.82, 0.81, 0.79), (0.48, 0.51, 0.55))
    hair: Mapping[str, float] = field(default_factory=dict)


PEOPLE: dict[str, Person] = {
    "default": Person(
        shape=Identity(
            ancestry={"caucasian": 0.62, "asian": 0.24, "african": 0.14},
            weight=0.44,
            details={
                "head/head-oval": 0.45,
                "head/head-scale-horiz-decr": 0.20,
                "head/head-scale-vert-decr": 0.15,
                "head/head-fat-decr": 0.22,
                "cheek/*cheek-bones-incr": 0.25,
                "cheek/*cheek-volume-incr": 0.20,
                "eyes/*eye-scale-incr": 1.0,
                "eyes/*eye-corner2-up": 0.35,
                "eyes/*eye-height2-incr": 0.25,
                "eyebrows/eyebrows-trans-up": 0.3,
                "ears/*ear-wing-decr": 0.6,
                "nose/nose-scale-horiz-decr": 0.35,
                "nose/nose-point-up": 0.2,
                "mouth/mouth-upperlip-volume-incr": 0.3,
                "mouth/mouth-lowerlip-volume-incr": 0.25,
                "mouth/mouth-cupidsbow-incr": 0.3,
                "chin/chin-width-decr": 0.15,
            },
            expression={
                "mouthSmileLeft": 0.36,
                "mouthSmileRight": 0.36,
                "jawOpen": -0.05,
                "eyeBlinkLeft": 0.17,
                "eyeBlinkRight": 0.17,
                "cheekSquintLeft": 0.2,
                "cheekSquintRight": 0.2,
            },
        ),
        skin=Complexion(),
        iris=(0.40, 0.27, 0.16),
        brow={"height": 0.180, "arch": 0.050, "thick": 0.027, "count": 380, "length": 0.072},
        melanin=0.58,
        redness=0.22,
    ),
    "second": Person(
        shape=Identity(
            male=1.0,
            age=0.53,
            ancestry={"african": 0.72, "caucasian": 0.20, "asian": 0.08},
            weight=0.42,
            muscle=0.55,
            details={
                "head/head-oval": 0.35,
                "eyes/*eye-scale-incr": 0.6,
                "chin/chin-width-decr": 0.10,
                "nose/nose-scale-horiz-decr": 0.15,
                "ears/*ear-wing-decr": 0.5,
            },
            expression={
                "mouthSmileLeft": 0.30,
                "mouthSmileRight": 0.30,
                "jawOpen": -0.04,
                "eyeBlinkLeft": 0.12,
                "eyeBlinkRight": 0.12,
                "cheekSquintLeft": 0.2,
                "cheekSquintRight": 0.2,
            },
        ),
        skin=Complexion(
            base=(0.50, 0.335, 0.255),
            blush=(0.52, 0.29, 0.22),
            lips=(0.48, 0.285, 0.255),
            shade=(0.38, 0.245, 0.19),
            stubble=0.30,
        ),
        iris=(0.24, 0.15, 0.09),
        brow={"height": 0.165, "arch": 0.030, "thick": 0.036, "count": 520, "length": 0.065},
        melanin=0.97,
        redness=0.1,
        lashes=0.72,
        hair={
            "length": 0.13,
            "steps": 8,
            "volume": 0.0,
            "lift": 2.5,
            "fall": 0.0,
            "back": 0.1,
            "out": 0.0,
            "tuck": 0.0,
            "hug": 0.0,
            "wave": 0.012,
            "hairline": 0.66,
            "guides": 900,
            "strands": 90000,
            "locks": 6000,
            "radius": 0.0020,
        },
        garment=(0.62, 0.58, 0.52),
        backdrop=((0.72, 0.76, 0.78), (0.38, 0.44, 0.48)),
    ),
}
