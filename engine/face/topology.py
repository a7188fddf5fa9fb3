"""Which of the 478 landmarks is what. *Left* is the person's left: the picture's right.

Source: MediaPipe's face mesh topology (468 points of the canonical face, then five per iris:
centre and the iris' edge towards the picture's right, top, left and bottom, the right eye first).
"""

from __future__ import annotations

from engine.motion.arkit import BLENDSHAPES

INNER_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
"""Lower edge of the upper lip, corner to corner, from the picture's left."""
INNER_LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Upper edge of the lower lip."""
OUTER_UPPER_LIP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER_LIP = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LIP_PAIRS = tuple(zip(INNER_UPPER_LIP[1:-1], INNER_LOWER_LIP[1:-1], strict=True))
"""Points of the inner lips that meet in a closed mouth."""
LIP_RINGS = (
    (
        (0, 37, 267, 39, 269, 40, 270, 185, 409),
        (11, 72, 302, 73, 303, 74, 304, 184, 408),
        (12, 38, 268, 41, 271, 42, 272, 183, 407),
        (13, 82, 312, 81, 311, 80, 310, 191, 415),
    ),
    (
        (17, 84, 314, 181, 405, 91, 321, 146, 375),
        (16, 85, 315, 180, 404, 90, 320, 77, 307),
        (15, 86, 316, 179, 403, 89, 319, 96, 325),
        (14, 87, 317, 178, 402, 88, 318, 95, 324),
    ),
)
"""Upper and lower lip from its outer edge to its inner one, column by column."""
MOUTH_CENTRE = (13, 14)
MOUTH_CORNERS = (61, 291)

RIGHT_UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
RIGHT_LOWER_LID = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LEFT_UPPER_LID = (263, 466, 388, 387, 386, 385, 384, 398, 362)
LEFT_LOWER_LID = (263, 249, 390, 373, 374, 380, 381, 382, 362)
"""Lid margins from the outer corner to the inner one."""
RIGHT_LID_PAIRS = tuple(zip(RIGHT_UPPER_LID[1:-1], RIGHT_LOWER_LID[1:-1], strict=True))
LEFT_LID_PAIRS = tuple(zip(LEFT_UPPER_LID[1:-1], LEFT_LOWER_LID[1:-1], strict=True))
"""Points of the lids, upper and lower, that meet in a closed eye."""
EYE_CORNERS = (33, 263)
"""Outer corners, right eye first."""

RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
IRIS_CENTRES = (468, 473)

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Outline of the mesh, clockwise as the viewer sees it, from the top of the forehead."""
CHIN = 152
NOSE_TIP = 1
CHEEKS = (234, 454)
"""Widest points of the face, picture's left first."""

BLENDSHAPE_POINTS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283,
    284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
    473, 474, 475, 476, 477,
)  # fmt: skip
"""What the blendshape network reads (``kLandmarksSubsetIdxs`` in face_blendshapes_graph.cc)."""

_NETWORK_NAMES = ("_neutral", *sorted(n for n in BLENDSHAPES if n != "tongueOut"))
# The network's order (kBlendshapeNames) is alphabetical after ``_neutral``.
BLENDSHAPE_SOURCE = tuple(
    _NETWORK_NAMES.index(name) if name in _NETWORK_NAMES else -1 for name in BLENDSHAPES
)
"""For each of our blendshapes its place in the network's output; -1 for tongueOut."""
assert len(BLENDSHAPE_POINTS) == 146
assert len(_NETWORK_NAMES) == 52
