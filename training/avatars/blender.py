"""Thin layer over Blender's Python module: numpy arrays in, objects and shader nodes out.

Blender (``pip install bpy==4.5.15``) is an offline asset tool: nothing of it is shipped or
imported outside this package. Blender's z is up, so the data's (x, y, z) becomes (x, -z, y).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree

from training.avatars.anatomy import Floats


def to_blender(points: Floats) -> Floats:
    """Points (..., 3) in Blender's axes."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def from_blender(points: Floats) -> Floats:
    """Inverse of :func:`to_blender`."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


class Dense:
    """A subdivided surface.

    ``vertices`` and ``normals`` (n, 3), ``faces`` (f, 4) and ``uv`` (n, 2).
    """

    def __init__(self, vertices: Floats, faces: Any, uv: Floats | None, levels: int) -> None:
        mesh = _raw_mesh("cage", vertices, faces)
        if uv is not None:
            mesh.uv_layers.new(name="uv").data.foreach_set("uv", uv.reshape(-1).astype(np.float32))
        cage = bpy.data.objects.new("cage", mesh)
        bpy.context.collection.objects.link(cage)
        if levels:
            modifier = cage.modifiers.new("subdivide", "SUBSURF")
            modifier.levels = modifier.render_levels = levels
        graph = bpy.context.evaluated_depsgraph_get()
        fine = bpy.data.meshes.new_from_object(cage.evaluated_get(graph))
        count = len(fine.vertices)
        self.vertices = from_blender(_column(fine.vertices, "co", count))
        self.normals = from_blender(_column(fine.vertices, "normal", count))
        loops = np.zeros(len(fine.loops), np.int32)
        fine.loops.foreach_get("vertex_index", loops)
        self.faces = loops.reshape(-1, 4)
        self.uv = np.zeros((count, 2))
        if uv is not None:
            flat = np.zeros(len(loops) * 2, np.float32)
            fine.uv_layers[0].data.foreach_get("uv", flat)
            self.uv[loops] = flat.reshape(-1, 2)
        bpy.data.objects.remove(cage)

    def surface(self) -> BVHTree:
        """Search tree over the faces, in the data's axes."""
        return BVHTree.FromPolygons(self.vertices.tolist(), self.faces.tolist())


def _column(items: Any, name: str, count: int) -> Floats:
    flat = np.zeros(count * 3, np.float32)
    items.foreach_get(name, flat)
    return flat.reshape(count, 3).astype(np.float64)


def _raw_mesh(name: str, vertices: Floats, faces: Any) -> Any:
    mesh = bpy.data.meshes.new(name)
    used, index = np.unique(np.asarray(faces), return_inverse=True)
    points = to_blender(np.asarray(vertices)[used])
    mesh.from_pydata(points.tolist(), [], index.reshape(np.shape(faces)).tolist())
    return mesh


def add_mesh(name: str, vertices: Floats, faces: Any, material: Any, **attributes: Floats) -> Any:
    """Smooth-shaded object; float arrays (n,) or colours (n, 3) become named attributes."""
    mesh = _raw_mesh(name, vertices, faces)
    used = np.unique(np.asarray(faces))
    for key, values in attributes.items():
        chosen = np.asarray(values, np.float32)[used]
        if chosen.ndim == 1:
            mesh.attributes.new(key, "FLOAT", "POINT").data.foreach_set("value", chosen)
        else:
            rgba = np.concatenate([chosen, np.ones((len(chosen), 1), np.float32)], 1)
            layer = mesh.attributes.new(key, "FLOAT_COLOR", "POINT")
            layer.data.foreach_set("color", rgba.reshape(-1))
    mesh.shade_smooth()
    mesh.materials.append(material)
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.collection.objects.link(thing)
    return thing


def add_strands(name: str, strands: Floats, radius: Floats, material: Any) -> Any:
    """Hair curves from ``strands`` (k, points, 3) with ``radius`` (k, points), decimetres."""
    count, points = strands.shape[:2]
    data = bpy.data.hair_curves.new(name)
    data.add_curves([points] * count)
    flat = to_blender(strands).astype(np.float32).reshape(-1)
    data.attributes["position"].data.foreach_set("vector", flat)
    layer = data.attributes.get("radius") or data.attributes.new("radius", "FLOAT", "POINT")
    layer.data.foreach_set("value", np.ascontiguousarray(radius, np.float32).reshape(-1))
    data.materials.append(material)
    thing = bpy.data.objects.new(name, data)
    bpy.context.collection.objects.link(thing)
    return thing


class Shader:
    """Node graph of one material, written as nested calls."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()

    def node(self, kind: str, inputs: dict[Any, Any] | None = None, **settings: Any) -> Any:
        """New node ``ShaderNode<kind>``; an input value may be a socket, number or colour."""
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for key, value in settings.items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            self._set(node.inputs[key], value)
        return node

    def _set(self, socket: Any, value: Any) -> None:
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        elif isinstance(value, bpy.types.Node):
            self.tree.links.new(value.outputs[0], socket)
        elif isinstance(value, Sequence) and len(value) == 3 and socket.type == "RGBA":
            socket.default_value = (*value, 1.0)
        else:
            socket.default_value = value

    def math(self, operation: str, a: Any, b: Any = 0.0, c: Any = 0.0) -> Any:
        """Socket of a scalar operation."""
        return self.node("Math", {0: a, 1: b, 2: c}, operation=operation).outputs[0]

    def mix(self, factor: Any, a: Any, b: Any, blend: str = "MIX") -> Any:
        """Socket of a colour mix."""
        inputs = {"Factor": factor, 6: a, 7: b}
        return self.node("Mix", inputs, data_type="RGBA", blend_type=blend).outputs[2]

    def attribute(self, name: str) -> Any:
        """Attribute node: ``.outputs['Color']`` or ``['Fac']``."""
        return self.node("Attribute", attribute_name=name)

    def finish(self, surface: Any) -> Any:
        """Connect the surface, return the material."""
        self.node("OutputMaterial", {"Surface": surface})
        return self.material


def area_light(where: Floats, target: Floats, size: float, power: float, colour: Any) -> None:
    """Square soft light at ``where`` (data axes) facing ``target``; power in watts."""
    lamp = bpy.data.lights.new("light", "AREA")
    lamp.size, lamp.energy, lamp.color = size, power, colour
    thing = bpy.data.objects.new("light", lamp)
    bpy.context.collection.objects.link(thing)
    place, aim = to_blender(np.asarray(where, float)), to_blender(np.asarray(target, float))
    thing.location = place
    thing.rotation_euler = Vector(aim - place).to_track_quat("-Z", "Y").to_euler()
