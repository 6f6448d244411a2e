# SPDX-License-Identifier: MIT
"""PyTorch tensors in a pickle: strided views of storages, converted to arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..containers.budget import ARRAY_OVERHEAD, Budget
from ..containers.elements import (
    Array,
    Entry,
    Unreadable,
    check_shape,
    finish,
    finished_bytes,
    is_floating,
    raw_dtype,
)
from ..containers.pickle_vm import Global, PickledObject, Storage
from ..containers.source import Bytes
from ..errors import FormatError, UnsupportedError, quote

# The closed tables: what the names in a pickle mean.
_TENSORS = {
    "torch._utils._rebuild_tensor": 4,
    "torch._utils._rebuild_tensor_v2": 6,
    "torch._utils._rebuild_tensor_v3": 7,
}
_PARAMETERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
}
_REFUSED = {
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "a meta tensor without data",
    "torch._utils._rebuild_wrapper_subclass": "a tensor subclass",
    "torch._utils._rebuild_device_tensor_from_numpy": "a device tensor without a storage",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a device tensor without a storage",
    "torch._tensor._rebuild_from_type_v2": "a tensor subclass",
}
_STORAGE_CODES = {
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": "bf16",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "b1",
    "torch.ComplexFloatStorage": "c8",
    "torch.ComplexDoubleStorage": "c16",
}
_DTYPE_CODES = {
    "torch.float32": "f4",
    "torch.float64": "f8",
    "torch.float16": "f2",
    "torch.bfloat16": "bf16",
    "torch.int64": "i8",
    "torch.int32": "i4",
    "torch.int16": "i2",
    "torch.int8": "i1",
    "torch.uint8": "u1",
    "torch.uint16": "u2",
    "torch.uint32": "u4",
    "torch.uint64": "u8",
    "torch.bool": "b1",
    "torch.complex64": "c8",
    "torch.complex128": "c16",
}
_UNTYPED = "torch.storage.UntypedStorage"
# Unsupported, but a legacy stream cannot be read without their sizes.
_OTHER_SIZES = {
    _UNTYPED: 1,
    "torch.QInt8Storage": 1,
    "torch.QUInt8Storage": 1,
    "torch.QInt32Storage": 4,
}


@dataclass(frozen=True, slots=True)
class _View:
    """A checked tensor: its elements within a storage."""

    key: str
    code: str
    storage_bytes: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    nbytes: int


def is_tensor(value: object) -> bool:
    """Whether a value of the pickle is a tensor or parameter of any kind, supported or not."""
    return isinstance(value, PickledObject) and (
        value.name in _TENSORS or value.name in _PARAMETERS or value.name in _REFUSED
    )


def is_weight(value: object) -> bool:
    """Whether a value looks like a weight: floating-point, with at least one dimension."""
    tensor = _unwrap(value)
    if not isinstance(tensor, PickledObject):
        return False
    if tensor.name not in _TENSORS:
        return tensor.name in _REFUSED
    if len(tensor.args) < _TENSORS[tensor.name]:
        return True  # the reader raises the error
    code = _element_code(tensor)
    return bool(tensor.args[2]) and (code is None or is_floating(code))


def storage_itemsize(storage: Storage, what: str) -> int:
    """Return the bytes of one of the elements that the storage counts."""
    if storage.kind in _OTHER_SIZES:
        return _OTHER_SIZES[storage.kind]
    if storage.kind not in _STORAGE_CODES:
        raise FormatError(f"{what} has elements of type {quote(storage.kind)}: not supported")
    return raw_dtype(_STORAGE_CODES[storage.kind]).itemsize


class TensorLoader:
    """Converts tensors to arrays. Tensors with the same view of a storage share one array."""

    def __init__(
        self, load_storage: Callable[[str, int], Bytes], budget: Budget, big_endian: bool
    ) -> None:
        self._load_storage = load_storage  # (key, expected bytes) -> the bytes
        self.budget = budget
        self._big_endian = big_endian
        self._storages: dict[str, Bytes] = {}
        self._arrays: dict[_View, Array] = {}

    def entry(self, name: str, value: object) -> Entry:
        """Return the array of one tensor, or an Unreadable if its kind is not supported."""
        if isinstance(value, Unreadable):
            return value
        try:
            return self.array(name, value)
        except UnsupportedError as error:
            return Unreadable(str(error))

    def array(self, name: str, value: object) -> Array:
        """Return the array of one tensor; `name` is named in errors."""
        what = f"tensor {quote(name)}"
        self.budget.spend(len(name) + ARRAY_OVERHEAD, what)
        view = _check(value, what)
        if view not in self._arrays:
            self.budget.spend(finished_bytes(view.nbytes, view.code), what)
            self._arrays[view] = self._make(view, what)
        return self._arrays[view]

    def _make(self, view: _View, what: str) -> Array:
        dtype = raw_dtype(view.code, self._big_endian)
        storage = self._storage(view, what)
        if not view.nbytes:
            return finish(np.empty(view.shape, dtype), view.code)
        steps = tuple(
            stride * dtype.itemsize if size > 1 else dtype.itemsize
            for size, stride in zip(view.shape, view.strides, strict=True)
        )
        offset = view.offset * dtype.itemsize
        array: Array = np.ndarray(view.shape, dtype, storage, offset, steps)
        return finish(array, view.code)

    def _storage(self, view: _View, what: str) -> Bytes:
        if view.key not in self._storages:
            self._storages[view.key] = self._load_storage(view.key, view.storage_bytes)
        storage = self._storages[view.key]
        if storage.size != view.storage_bytes:
            raise FormatError(
                f"{what}: storage {quote(view.key)} has {storage.size} bytes, "
                f"the pickle says {view.storage_bytes}"
            )
        return storage


def _unwrap(value: object) -> object:
    """Return the tensor inside a parameter, any other value as it is."""
    if isinstance(value, PickledObject) and value.name in _PARAMETERS and value.args:
        return value.args[0]
    return value


def _element_code(tensor: PickledObject) -> str | None:
    if tensor.name.endswith("_v3"):
        dtype = tensor.args[6]
        return _DTYPE_CODES.get(dtype.name) if isinstance(dtype, Global) else None
    storage = tensor.args[0]
    return _STORAGE_CODES.get(storage.kind) if isinstance(storage, Storage) else None


def _check(value: object, what: str) -> _View:
    """Check that storage, offset, shape and strides of a tensor fit together."""
    tensor = _unwrap(value)
    if not isinstance(tensor, PickledObject) or tensor.name not in _TENSORS:
        name = tensor.name if isinstance(tensor, PickledObject) else type(tensor).__name__
        raise UnsupportedError(f"{what} is {_REFUSED.get(name, name)}: not supported")
    if len(tensor.args) < _TENSORS[tensor.name]:
        raise FormatError(
            f"{what}: expected {_TENSORS[tensor.name]} arguments, got {len(tensor.args)}"
        )
    storage, offset, shape, strides = tensor.args[:4]
    if not isinstance(storage, Storage):
        raise FormatError(f"{what} does not refer to a storage")
    if any(isinstance(extra, dict) and extra for extra in tensor.args[6:]):
        raise UnsupportedError(f"{what} has a pending conjugate or negation: not supported")
    code = _element_code(tensor)
    if code is None:
        kind = tensor.args[6] if tensor.name.endswith("_v3") else Global(storage.kind)
        kind_name = quote(kind.name) if isinstance(kind, Global) else type(kind).__name__
        raise UnsupportedError(f"{what} has elements of type {kind_name}: not supported")
    itemsize = raw_dtype(code).itemsize
    shape, nbytes = check_shape(shape, itemsize, what)
    storage_bytes = storage.count * storage_itemsize(storage, what)
    if not isinstance(strides, tuple) or len(strides) != len(shape):
        raise FormatError(f"{what}: shape and strides differ in length")
    first, *steps = (_count(number, what) for number in (offset, *strides))
    last = first + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    available = storage_bytes // itemsize
    if nbytes and last >= available:
        raise FormatError(f"{what} reaches element {last} of a storage of {available} elements")
    return _View(storage.key, code, storage_bytes, first, shape, tuple(steps), nbytes)


def _count(number: object, what: str) -> int:
    if type(number) is not int or number < 0:
        raise FormatError(f"{what}: an offset or stride is negative or not a number")
    return number
