"""M networks `Mlp3d` as one: batched matrix products over a leading member axis."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ig3d_ray.models.mlp3d.network import SLOPE, Mlp3d

LAYERS = ("1", "2", "3", "4")


class CohortMlp3d(nn.Module):
    """M `Mlp3d` networks of the same width, with inputs zero-padded to the widest.

    Args:
        networks: of the same width, outputs and dropouts.
    """

    def __init__(self, networks: Sequence[Mlp3d]) -> None:
        super().__init__()
        self.inputs = [network.fc1.in_features for network in networks]
        states = [network.state_dict() for network in networks]
        for name in states[0]:
            parts = [state[name].detach() for state in states]
            if name == "fc1.weight":
                parts = [functional.pad(part, (0, max(self.inputs) - part.shape[1])) for part in parts]
            stacked = torch.stack(parts)
            if "running" in name or "tracked" in name:
                self.register_buffer(_flat(name), stacked)
            else:
                trained = networks[0].get_parameter(name).requires_grad
                self.register_parameter(_flat(name), nn.Parameter(stacked, requires_grad=trained))
        self.dropouts = (networks[0].dropout1.p, networks[0].dropout2.p)
        self.generators: list[torch.Generator] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[M, B, D]` standardized parameters to `[M, B, outputs]` raw scores."""
        # Samples last: gradients come in the layout of the weights, and batch norm takes M * W channels without a copy.
        x = x.transpose(1, 2)
        for index, layer in enumerate(LAYERS):
            x = functional.leaky_relu(self._norm(self._linear(x, f"fc{layer}"), f"bn{layer}"), SLOPE)
            if self.training and index < len(self.dropouts) and self.dropouts[index]:
                x = self._drop(x, self.dropouts[index])
        return self._linear(x, "output").transpose(1, 2)

    def member(self, index: int) -> dict[str, torch.Tensor]:
        """A copy of one member's weights, with the names that its own network uses."""
        state = {}
        for name, value in self.state_dict().items():
            part = value[index].detach().clone()
            state[_dotted(name)] = part[:, : self.inputs[index]].clone() if name == "fc1_weight" else part
        return state

    def keep(self, members: Sequence[int], optimizer: torch.optim.Optimizer) -> None:
        """Keep only some members, with their optimizer state."""
        index = torch.tensor(members, dtype=torch.long).to(self.fc1_weight.device)  # type: ignore[arg-type]
        self.inputs = [self.inputs[i] for i in members]
        for name, buffer in list(self.named_buffers()):
            setattr(self, name, buffer[index])
        parameters = list(self.named_parameters())
        for name, old in parameters:
            new = nn.Parameter(old.detach()[index], requires_grad=old.requires_grad)
            state = optimizer.state.pop(old, None)
            if state is not None:
                optimizer.state[new] = {
                    key: value[index] if torch.is_tensor(value) and value.dim() else value
                    for key, value in state.items()
                }
            setattr(self, name, new)
        optimizer.param_groups[0]["params"] = [p for p in self.parameters() if p.requires_grad]

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        return torch.baddbmm(bias[:, :, None], weight, x)

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        members, width, batch = x.shape
        of = {part: getattr(self, f"{name}_{part}") for part in ("running_mean", "running_var", "weight", "bias")}
        if self.training:
            getattr(self, f"{name}_num_batches_tracked").add_(1)
        normed = functional.batch_norm(
            x.reshape(1, members * width, batch),
            of["running_mean"].view(-1),
            of["running_var"].view(-1),
            of["weight"].reshape(-1),
            of["bias"].reshape(-1),
            training=self.training,
        )
        return normed.reshape(members, width, batch)

    def _drop(self, x: torch.Tensor, p: float) -> torch.Tensor:
        members, width, batch = x.shape
        # Samples first, as in the draws of a member that trains alone.
        drawn = torch.empty(members, batch, width, device=x.device)
        for slot, generator in zip(drawn, self.generators, strict=True):
            torch.rand(batch, width, generator=generator, out=slot)
        return x * (drawn >= p).transpose(1, 2) / (1 - p)


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _dotted(name: str) -> str:
    layer, _, rest = name.partition("_")
    return f"{layer}.{rest}"
