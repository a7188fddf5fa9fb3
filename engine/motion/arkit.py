"""The public motion space: ARKit-52 blendshapes by name, head rotation, head translation.

Axes (head and camera alike, right-handed): x to the *picture's* right, y up, z towards the camera.
Rotation is ``R = Ry(yaw) @ Rx(pitch) @ Rz(roll)``, in radians, relative to the photo:
yaw > 0 turns the nose to the picture's right, pitch > 0 looks down, roll > 0 tilts the head
counter-clockwise as the viewer sees it. Translation is in inter-ocular units (distance of the
pupils of the photo's face). ARKit's *Left* is the person's left: the picture's right.

Source of names and order: Apple, ``ARFaceAnchor.BlendShapeLocation`` as Live Link Face orders them.
"""

from __future__ import annotations

BLENDSHAPES: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight",
    "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight",
    "tongueOut",
)  # fmt: skip

INDEX: dict[str, int] = {name: index for index, name in enumerate(BLENDSHAPES)}
"""Blendshape name to position in a motion vector."""

ROTATION = slice(52, 55)
"""yaw, pitch, roll in a motion vector."""
TRANSLATION = slice(55, 58)
"""x, y, z in a motion vector."""
MOTION_SIZE = 58

LIPS: tuple[int, ...] = tuple(
    i for i, n in enumerate(BLENDSHAPES) if n.startswith(("mouth", "jaw", "tongue"))
)
"""Mouth 23, jaw 4, tongue 1: the 28 shapes of the lips head."""
EXPRESSION: tuple[int, ...] = tuple(i for i in range(52) if i not in LIPS)
"""Eyes, brows, cheeks, nose: the 24 shapes of the expression head."""
POSE: tuple[int, ...] = tuple(range(52, 58))
assert (len(BLENDSHAPES), len(LIPS), len(EXPRESSION)) == (52, 28, 24)
