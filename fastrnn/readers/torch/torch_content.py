# SPDX-License-Identifier: MIT
"""What a file of torch.save holds: a state dict, or a module, as arrays or as a whole model."""

from __future__ import annotations

from dataclasses import dataclass

from ..containers.elements import Array, Entry, Unreadable
from ..containers.pickle_vm import PickledObject
from ..description import DescribedLayer, Description, Obstacle, RecurrentOptions, unsupported
from ..errors import FormatError, OnlyWeights
from ..reparametrized import plain_tensors
from .module_layers import NoLayerError, describe_module
from .pickled_modules import PickledModule, unknown_code, walk_modules
from .state_dict import find_content, find_state_dict
from .torch_tensors import TensorLoader

_FORMAT = "torch module"
_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_ADVICE = (
    "fastrnn.load(path, prefix=...) loads one of PyTorch's own recurrent layers in it; to load all "
    "of it, export it with torch.export"
)


@dataclass(frozen=True, slots=True)
class TorchContent:
    """The object that torch.save saved, and what loads the tensors in it."""

    root: object
    loader: TensorLoader

    def arrays(self, key: str | None) -> tuple[dict[str, Entry], RecurrentOptions]:
        """The state dict at the path `key`, and what recurrent modules say of themselves."""
        tensors, recurrent = find_state_dict(self.root, key, self.loader.budget)
        return {name: self.loader.entry(name, t) for name, t in tensors.items()}, recurrent

    def describe(self, key: str | None) -> Description:
        """The module at the path `key` as a chain of layers.

        OnlyWeights if it is a state dict, UnsupportedModel for modules that are no layers.
        """
        found = find_content(self.root, key)
        if not isinstance(found, PickledObject):
            raise OnlyWeights("a state dict")
        walked = walk_modules(found, self.loader.budget)
        modules = [m for m in walked if m.kind != _SEQUENTIAL or unknown_code(m)]
        layers: list[DescribedLayer] = []
        obstacles: list[Obstacle] = []
        for module in modules:
            try:
                arrays = self._plain(module)
                layers += describe_module(module, arrays, is_last=module is modules[-1])
            except NoLayerError as error:
                obstacles.append(Obstacle(module.path or "model", module.kind, str(error)))
        if obstacles:
            raise unsupported(obstacles, _ADVICE)
        if not layers:
            raise FormatError("the module has no layers")
        return Description(_FORMAT, tuple(layers))

    def _plain(self, module: PickledModule) -> dict[str, Array]:
        """The tensors of a module by their own names."""
        prefix = f"{module.path}." if module.path else ""
        entries = {name: self.loader.entry(name, t) for name, t in module.tensors().items()}
        for entry in entries.values():
            if isinstance(entry, Unreadable):
                raise NoLayerError(entry.why)
        arrays = {n: e for n, e in entries.items() if not isinstance(e, Unreadable)}
        own = {name.removeprefix(prefix): name for name in arrays}
        return plain_tensors(prefix, own, arrays, self.loader.budget)
