"""The constants of a mouth's or an eye's window: seams, layers, fields, cards."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face import topology
from engine.face.fit import HeadFit
from engine.face.rig import effective
from engine.media import Float32
from engine.render import layers, teeth
from engine.render.eyes import eye_cards, white_light
from engine.render.fields import LAYERS, MEETING, SKIN_COUNT, Layer, Spread
from engine.render.layout import CARD, EYES, MOUTH, SIZE, Opening, node_positions
from engine.render.mouth import UPPER, MouthCards, mouth_cards

Floats = NDArray[np.float64]
RAMP = 1.6
"""Pixels over which a layer ends at its rim."""
SOFTNESS = 1.0
DEPTH_SOFTNESS = 8.0
"""Pixels by which a field may miss the landmarks: their jitter, and more of it in depth."""
RIM_DAMPING = 1e-2
"""Keeps landmarks of a rim that nearly touch from being told apart by wild nodes."""


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head in camera pixels: x right, y up, z towards the camera.

    Args:
        photo: float32 [512,512,3].
        landmarks: float32 [478,2], pixels, y down, as observed.
        rest: float32 [478,3], camera pixels at rest; x and y are the observed ones.
        basis: float32 [52,478,3], camera pixels.
        fit: of the photo.
        anchors: float32 [A,2], pixels, where the face's movements have ended.
        neck: y in pixels where the neck starts to lag behind the head, and where it rests.
    """

    photo: Float32
    landmarks: Float32
    rest: Float32
    basis: Float32
    fit: HeadFit
    anchors: Float32
    neck: tuple[float, float]

    def camera(self, points: Float32) -> Float32:
        """Points [N,3] of the head's frame to camera pixels."""
        placed = self.fit.scale * points @ self.fit.rotation.T
        placed[:, :2] += self.fit.translation * np.array([1, -1])
        return np.asarray(placed, np.float32)

    def turn(self, vectors: Float32) -> Float32:
        """Displacements [...,3] of the head's frame to camera pixels."""
        return np.asarray(self.fit.scale * vectors @ self.fit.rotation.T, np.float32)

    def skin(self, places: Float32) -> Float32:
        """How far places [M,2] px go along with the head: 1 above the jaw, 0 at the shoulders."""
        top, bottom = self.neck
        t = np.clip((bottom - places[:, 1]) / (bottom - top), 0, 1)
        return np.asarray(t * t * (3 - 2 * t), np.float32)


def fields(head: Head, layer: Layer, places: Float32) -> tuple[Float32, Float32]:
    """Spread the head's movements over places of the photo.

    Args:
        head: the fitted head.
        layer: which landmarks carry the field.
        places: [M,2] pixels.

    Returns:
        basis [52, 3*M] and rest [3,M], camera pixels.
    """
    carriers = layer.landmarks
    points = head.landmarks[:SKIN_COUNT]
    values = layer.values(head.basis)[:, carriers].transpose(1, 0, 2).reshape(len(carriers), -1)
    still = np.zeros((len(head.anchors), values.shape[1]), np.float32)
    spread = Spread(np.concatenate([points[carriers], head.anchors]), SOFTNESS)
    moved = spread(np.concatenate([values, still]), places)
    basis = moved.reshape(len(places), 52, 3).transpose(1, 2, 0).reshape(52, -1)
    return np.ascontiguousarray(basis, np.float32), rest_at(head, places)


def rest_at(head: Head, places: Float32) -> Float32:
    """Places [M,2] of the photo in camera pixels, [3,M]."""
    points = head.landmarks[:SKIN_COUNT]
    outline = head.rest[list(topology.FACE_OVAL), 2]
    rings = [_ring(head.landmarks, factor) for factor in (1.4, 2.2)]
    depths = np.concatenate([head.rest[:SKIN_COUNT, 2], outline, outline])
    deep = Spread(np.concatenate([points, *rings]), DEPTH_SOFTNESS)
    rest = np.stack([places[:, 0], -places[:, 1], deep(depths[:, None], places)[:, 0]])
    return rest.astype(np.float32)


def rim_fields(
    head: Head, layer: Layer, opening: Opening, places: Float32, rim: tuple[int, ...]
) -> Float32:
    """The basis of a window's field [52, 3*M] that moves its rim by what its landmarks command.

    Between nodes a field is bilinear. At a rim the movement has a kink, where skin ends and what
    lies beyond goes along: there the nodes must overshoot, or lips and lids stop short.
    """
    carriers = layer.landmarks
    centres = np.concatenate([head.landmarks[carriers], head.anchors])
    nodes = Spread(centres, SOFTNESS).matrix(places)[:, : len(carriers)]
    values = layer.values(head.basis)[:, carriers].transpose(1, 0, 2).reshape(len(carriers), -1)
    at_rim = _bilinear(nodes, (head.landmarks[list(rim)] - places[0]) / opening.step, opening.nodes)
    # What a rim point is moved more, its copy on the other side is too.
    shares = np.zeros((len(carriers), len(rim)))
    for column, point in enumerate(rim):
        copies = [target for source, target in layer.copies if source == point]
        shares[np.isin(carriers, [point, *copies]), column] = 1
    told = head.basis[:, list(rim)].transpose(1, 0, 2).reshape(len(rim), -1)
    gain = at_rim @ shares
    missed = gain.T @ (told - at_rim @ values)
    more = np.linalg.solve(gain.T @ gain + RIM_DAMPING * np.eye(len(rim)), missed)
    moved = nodes @ (values + shares @ more)
    basis = moved.reshape(len(places), 52, 3).transpose(1, 2, 0).reshape(52, -1)
    return np.ascontiguousarray(basis, np.float32)


def _bilinear(values: Floats, at: Float32, nodes: tuple[int, int]) -> Floats:
    """Values [rows*columns,C] of a grid at positions [N,2] given in cells, [N,C]."""
    rows, columns = nodes
    first = np.clip(np.floor(at), 0, (columns - 2, rows - 2)).astype(int)
    (x, y), (u, v) = (at - first).T[..., None], (1 - at + first).T[..., None]
    corner = first[:, 1] * columns + first[:, 0]
    above = u * values[corner] + x * values[corner + 1]
    below = u * values[corner + columns] + x * values[corner + columns + 1]
    return np.asarray(v * above + y * below)


def _ring(landmarks: Float32, factor: float) -> Float32:
    outline = landmarks[list(topology.FACE_OVAL)]
    centre = (outline.min(0) + outline.max(0)) / 2
    return np.asarray(centre + (outline - centre) * factor, np.float32)


def mouth_inputs(head: Head, light: Float32) -> dict[str, Float32]:
    """Constants of the mouth's window, named as the network's inputs."""
    upper = head.landmarks[list(topology.INNER_UPPER_LIP)]
    lower = head.landmarks[list(topology.INNER_LOWER_LIP)]
    outer = head.landmarks[list(topology.OUTER_UPPER_LIP + topology.OUTER_LOWER_LIP)]
    low, high = outer.min(0), outer.max(0)
    # More room below: that is where a mouth opens to.
    origin = _origin((low + high) / 2 + np.array([0, 0.08 * MOUTH.height]), MOUTH)
    gap = lower[1:-1, 1] - upper[1:-1, 1]
    if gap.max() < MEETING:
        upper = lower = np.asarray((upper + lower) / 2, np.float32)
    rims = (topology.INNER_UPPER_LIP, topology.INNER_LOWER_LIP)
    window = _window(head, MOUTH, origin, upper, lower, rims)
    if upper is not lower:
        for side in ("upper", "lower"):
            _clean_rim(window[side][0], upper[[0, -1], 0] - origin[0] + MOUTH.margin)
    cards = mouth_cards(head.fit, light)
    own = {
        "cards": cards.textures,
        "card_rest": head.camera(cards.centres + _resting(head, cards.deltas)),
        "card_axes": _axes(head, cards.halves),
        "card_basis": head.turn(cards.deltas),
    }
    _own_teeth(head, own, cards, window, origin - MOUTH.margin)
    return {f"mouth_{k}": v for k, v in (window | own).items()}


def _clean_rim(layer: Float32, corners: Float32) -> None:
    """Give the rim of an open lip the lip's colour, in place.

    Landmarks err towards the teeth, and a lip that carries bits of teeth along looks frayed.

    Args:
        layer: [4,H,W] colour and share.
        corners: [2], columns of the mouth's corners.
    """
    solid = (layer[3] > 0.99).astype(np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    known = np.asarray(cv2.erode(solid, kernel), np.float32)
    left, right = int(corners[0]) + 2, int(corners[1]) - 1
    known[:, :left] = known[:, right:] = 1
    layer[:3] = layers.fill(layer[:3].transpose(1, 2, 0), known).transpose(2, 0, 1)


def _own_teeth(
    head: Head,
    own: dict[str, Float32],
    cards: MouthCards,
    window: dict[str, Float32],
    start: Float32,
) -> None:
    """Where the photo shows upper teeth, put them onto their card and the card where they are."""
    photo = layers.crop(head.photo, start, MOUTH.source)
    opening = np.clip(1 - window["upper"][0, 3] - window["lower"][0, 3], 0, 1)
    row = teeth.upper_row(photo, opening)
    if row is None:
        return
    axes = own["card_axes"][UPPER, :2]
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in CARD), indexing="ij")
    half = cards.halves[UPPER]

    def look(picture: Float32) -> Float32:
        place = own["card_rest"][UPPER, :2, None, None] + np.einsum("ij,jhw->ihw", axes, [x, y])
        at_x, at_y = place[0] - start[0], -place[1] - start[1]
        flat = cv2.remap(picture, at_x.astype(np.float32), at_y.astype(np.float32), 1)
        return np.asarray(flat, np.float32)

    # The edge of the rendered card: the lowest texels that are certainly tooth, in the middle.
    found = teeth.edge(look(row.sure), x * half[0], -y * half[1])
    if found is None:
        return
    rendered = cards.textures[UPPER, 3]
    middle = np.abs(x[0]) * half[0] < teeth.FRONT
    lowest = np.where(rendered > 0.5, -y * half[1], np.inf).min(0)[middle]
    shift = np.clip(found - float(np.median(lowest)), -teeth.MAX_SHIFT, teeth.MAX_SHIFT)
    own["card_rest"][UPPER] -= axes_down(own["card_axes"][UPPER], half) * shift
    bare, sure = look(teeth.lit(row.colours, opening)), look(row.sure)
    ratio = teeth.colour_ratio(own["cards"][UPPER], look(photo), sure)[:, None, None]
    own["cards"][UPPER - 1 :, :3] *= ratio
    patch, empty = look(row.patch), look(row.empty)
    own["cards"][UPPER] = teeth.paint(own["cards"][UPPER], bare, patch, empty)


def axes_down(axes: Float32, half: Float32) -> Float32:
    """Camera vector [3] of one inter-ocular unit down a card."""
    return np.asarray(axes[:, 1] / half[1], np.float32)


def _resting(head: Head, deltas: Float32) -> Float32:
    """Displacement [K,3] of cards by the photo's expression."""
    shapes = effective(head.fit.resting, head.fit.lids)
    return np.asarray(np.einsum("s,ksc->kc", shapes, deltas), np.float32)


def _axes(head: Head, halves: Float32) -> Float32:
    """Half width (right) and half height (down) of cards as camera vectors [K,3,2]."""
    right = halves[:, :1] * np.array([1, 0, 0])
    down = halves[:, 1:] * np.array([0, -1, 0])
    return np.stack([head.turn(right), head.turn(down)], -1).astype(np.float32)


def _origin(centre: Float32, opening: Opening) -> np.ndarray:
    """First pixel [2] of a window around a centre, inside the picture."""
    size = np.array([opening.width, opening.height])
    return np.clip(np.round(centre - size / 2), 0, SIZE - size).astype(np.int64)


def _window(
    head: Head,
    opening: Opening,
    origin: np.ndarray,
    upper: Float32,
    lower: Float32,
    rims: tuple[tuple[int, ...], tuple[int, ...]],
) -> dict[str, Float32]:
    """Everything of one window but its cards.

    Args:
        upper, lower: [N,2], pixels, where the layers end, corner to corner.
        rims: landmarks of the same.
    """
    places = node_positions(*opening.nodes, opening.step, (float(origin[0]), float(origin[1])))
    above, below = (
        rim_fields(head, layer, opening, places, rim)
        for layer, rim in zip(LAYERS[opening.name], rims, strict=True)
    )
    start = origin.astype(np.float32) - opening.margin
    picture = layers.crop(head.photo, start, opening.source)
    reach = 2.0 * opening.width
    over = layers.share_above(layers.seam(upper, reach), start, opening.source, RAMP)
    under = 1 - layers.share_above(layers.seam(lower, reach), start, opening.source, RAMP)
    top = np.concatenate([picture, over[..., None]], -1).transpose(2, 0, 1)
    bottom = np.concatenate([picture, under[..., None]], -1).transpose(2, 0, 1)
    centre = (upper.mean(0) + lower.mean(0)) / 2
    return {
        "origin": origin[None],
        "centre": centre[None].astype(np.float32),
        "upper_basis": above[None],
        "lower_basis": below[None],
        "rest": rest_at(head, places)[None],
        "skin": head.skin(places)[None, None],
        "upper": np.ascontiguousarray(top[None], np.float32),
        "lower": np.ascontiguousarray(bottom[None], np.float32),
    }


_EYES = (
    (topology.RIGHT_UPPER_LID, topology.RIGHT_LOWER_LID, topology.RIGHT_IRIS),
    (topology.LEFT_UPPER_LID, topology.LEFT_LOWER_LID, topology.LEFT_IRIS),
)


def eye_inputs(head: Head) -> tuple[dict[str, Float32], Float32]:
    """Constants of the eyes' windows, named as the network's inputs, and ``white_light`` [3]."""
    windows, lights = [], []
    for upper_ids, lower_ids, iris_ids in _EYES:
        upper, lower = head.landmarks[list(upper_ids)], head.landmarks[list(lower_ids)]
        iris = head.landmarks[list(iris_ids)]
        origin = _origin((upper.mean(0) + lower.mean(0)) / 2, EYES)
        window = _window(head, EYES, origin, upper, lower, (upper_ids, lower_ids))
        photo = window["upper"][0, :3].transpose(1, 2, 0)
        opening = np.clip(1 - window["upper"][0, 3] - window["lower"][0, 3], 0, 1)
        start = origin - EYES.margin
        radius = float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())
        half = np.array([EYES.source[1], EYES.source[0]], np.float32) / 2
        middle = start + half - 0.5
        depth = head.rest[iris_ids[0], 2]
        window["cards"] = eye_cards(photo, opening, iris[0] - start, radius)
        window["card_rest"] = np.array([[middle[0], -middle[1], depth]] * 2, np.float32)
        # Eyeballs are cards in the picture's plane: they carry the photo as it is.
        axes = np.array([[half[0], 0], [0, -half[1]], [0, 0]], np.float32)
        window["card_axes"] = np.stack([axes, axes])
        basis = np.zeros((2, 52, 3), np.float32)
        basis[1, 1:14] = head.basis[1:14, iris_ids[0]]
        basis[1, [5, 6, 7, 12, 13]] = 0
        window["card_basis"] = basis
        windows.append(window)
        lights.append(
            white_light(photo, np.asarray(cv2.erode(opening, np.ones((3, 3))), np.float32))
        )
    joined = {f"eyes_{k}": np.concatenate([w[k] for w in windows]) for k in windows[0]}
    return joined, np.mean(lights, 0)
