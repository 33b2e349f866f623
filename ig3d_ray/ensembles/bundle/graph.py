"""One graph of a whole ensemble, from images and parameters to its outputs, and graphs of its encoders, as ONNX."""

import contextlib
import copy
import io
import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ig3d_ray.data.representations import width_of
from ig3d_ray.ensembles.predictor import Ensemble
from ig3d_ray.ensembles.spec import EnsembleMember, EnsembleSpec, Fallback
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.combine import combine, to_space, with_floors
from ig3d_ray.models.face3d.encoders import IMAGE_SIZE
from ig3d_ray.models.registry import has_network
from ig3d_ray.models.spec import ImageInput, Input, TrainedSpec

OPSET = 20
CLOSE = 1e-4
"""Maximum difference between a graph's and torch's outputs, relative to the largest output."""


class EnsembleGraph(nn.Module):
    """An ensemble as one network: its members, and their fusion, in fp32.

    Args:
        ensemble: whose members all have networks.
        fallback: the fusion of fewer of them; None for the ensemble itself.

    Raises:
        Ig3dError: a member was imported as predictions.
    """

    def __init__(self, ensemble: Ensemble, fallback: Fallback | None = None) -> None:
        super().__init__()
        self.weights: Tensor
        self.temperatures: Tensor
        self.floors: Tensor | None
        spec = ensemble.spec
        self.fusion = (fallback or spec).fusion
        self.task, self.classes = spec.task, len(spec.class_names)
        self.specs: list[TrainedSpec] = []
        networks = []
        for member in _in_order(spec, fallback):
            parsed = member.parsed
            if not has_network(parsed):
                raise Ig3dError(f"{member.name}: was imported as predictions; there is no network to export")
            self.specs.append(parsed)
            networks.append(ensemble.network(member.name))
        self.networks = nn.ModuleList(networks)
        sizes = sorted({spec.image.size for spec in self.specs if spec.image is not None})
        used = self.fusion.features.union(*(spec.features for spec in self.specs))
        self.inputs = [f"image_{size}" for size in sizes] + [n for n in ensemble.representations if n in used]
        given = self.fusion.all_weights
        self.register_buffer("weights", torch.tensor(given if given is not None else [1.0], dtype=torch.float32))
        warm = self.fusion.temperatures or (1.0,) * len(networks)
        self.register_buffer("temperatures", torch.tensor(warm, dtype=torch.float32))
        floors = self.fusion.floors
        self.register_buffer("floors", None if floors is None else torch.tensor(floors, dtype=torch.float32))

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs of `forward`."""
        return ["valence_arousal"] if not self.task.has_classes else ["fused", "probabilities"]

    def example(self, batch: int) -> dict[str, Tensor]:
        """Random inputs of the right shapes and types."""
        generator = torch.Generator().manual_seed(0)
        found = {}
        for name in self.inputs:
            if name.startswith("image_"):
                size = int(name.removeprefix("image_"))
                found[name] = torch.randint(0, 256, (batch, 3, size, size), generator=generator, dtype=torch.uint8)
            else:
                found[name] = torch.randn(batch, width_of(name), generator=generator)
        return found

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Images `[B, 3, S, S]` uint8 and parameters `[B, 334 | 358]`, in the order of `inputs`."""
        named = dict(zip(self.inputs, inputs, strict=True))
        found = []
        for network, spec in zip(self.networks, self.specs, strict=True):
            scores = network(*[_input(one, named) for one in spec.inputs])
            found.append(scores[:, self.task.columns(self.classes)])
        outputs = torch.stack(found)
        if not self.task.has_classes:
            fused = self._fused(outputs, self.weights)
            if self.fusion.correction is not None:
                fused = torch.clamp(fused + self.fusion.correction.added(outputs, torch), -1.0, 1.0)
            return (fused,)
        weights: Any = self.weights
        if self.fusion.gate is not None:
            weights = self.fusion.gate.weights(outputs, self.weights, torch, named)
        outputs = outputs / self.temperatures[:, None, None]
        if self.floors is not None:
            outputs = with_floors(outputs, self.floors, torch)
        values = to_space(outputs, self.fusion.space, torch)
        fused = self._fused(values, weights)
        if self.fusion.correction is not None:
            fused = fused + self.fusion.correction.added(values, torch)
        return fused, self.fusion.probabilities(fused, torch)

    def _fused(self, outputs: Tensor, weights: Any) -> Tensor:
        if self.fusion.strategy is None:
            return outputs[0]
        fused: Tensor = combine(self.fusion.strategy, outputs, weights, torch)
        return fused


def _in_order(spec: EnsembleSpec, fallback: Fallback | None) -> list[EnsembleMember]:
    """The members whose outputs are fused, in the order of the weights."""
    if fallback is None:
        return list(spec.members)
    by_name = {member.name: member for member in spec.members}
    return [by_name[name] for name in fallback.members]


def _input(one: Input, named: dict[str, Tensor]) -> Tensor:
    if isinstance(one, ImageInput):
        return named[f"image_{one.size}"]
    return named[one.representation].index_select(1, torch.from_numpy(one.columns))


class EncoderGraph(nn.Module):
    """An encoder with the scaling of its images: `[B, 3, 224, 224]` uint8 to `[B, 334 | 358]`."""

    inputs, outputs = ("image_224",), ("parameters",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def example(self, batch: int) -> dict[str, Tensor]:
        """Random images."""
        generator = torch.Generator().manual_seed(0)
        shape = (batch, 3, IMAGE_SIZE, IMAGE_SIZE)
        return {"image_224": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)}

    def forward(self, image_224: Tensor) -> tuple[Tensor, ...]:
        """Parameters."""
        return (self.network(image_224.float() / 255),)


def onnx_bytes(graph: EnsembleGraph | EncoderGraph, what: str) -> bytes:
    """A graph as ONNX, checked against torch with onnxruntime; the same weights give the same bytes.

    Args:
        what: its name, for messages.

    Raises:
        Ig3dError: the packages of the extra `export` are missing; onnxruntime's outputs differ from torch's.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        way_out = "pip install 'ig3d-ray[export]'"
        raise Ig3dError(f"{error.name} is not installed, and exporting needs it: {way_out}") from error
    # A copy, so that the caller's networks stay on their device.
    graph = copy.deepcopy(graph).eval().cpu()
    with _quiet():
        batch = torch.export.Dim("batch", min=1, max=65536)
        shapes: Any = tuple({0: batch} for _ in graph.inputs)
        program = torch.onnx.export(
            graph,
            tuple(graph.example(2).values()),
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(shapes,) if isinstance(graph, EnsembleGraph) else shapes,
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
    model = program.model_proto
    _anonymous(model)
    data = bytes(model.SerializeToString(deterministic=True))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for size in (1, 3):
        example = graph.example(size)
        with torch.inference_mode():
            expected = [value.numpy() for value in graph(*example.values())]
        found = session.run(None, {name: value.numpy() for name, value in example.items()})
        for name, ours, theirs in zip(graph.outputs, expected, found, strict=True):
            far = float(np.abs(ours - theirs).max() / max(1.0, float(np.abs(ours).max())))
            if not far <= CLOSE:
                message = f"onnxruntime's {name} differ from torch's by {far:.2g}"
                raise Ig3dError(f"{what}: {message}; remove the member with this network")
    return data


def _anonymous(model: Any) -> None:
    """Remove machine-specific metadata that the exporter writes: code paths and call stacks."""
    model.doc_string = ""
    del model.metadata_props[:]
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for part in (*graph.node, *graph.value_info):
            part.doc_string = ""
            del part.metadata_props[:]
    for part in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter prints to stdout, writes logs, and warns about its own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
