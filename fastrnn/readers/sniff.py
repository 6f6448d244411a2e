# SPDX-License-Identifier: MIT
"""Recognising the kind of a model file from its first bytes or, in a ZIP file, its members.

To support a further kind, give it a reader in fastrnn.readers (and in fastrnn.readers.whole, if it
holds whole models) and change its entry here from a refusal to its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .containers.source import Source
from .errors import FormatError, listing

TORCH_ZIP = "torch zip"
TORCH_LEGACY = "torch legacy"
TORCHSCRIPT = "torchscript"
TORCH_EXPORT = "torch export"
SAFETENSORS = "safetensors"
NPZ = "npz"
FRNN = "frnn"
ONNX = "onnx"
KERAS = "keras"
KERAS_WEIGHTS = "keras weights"
JSON = "json"
ZIP = "zip"

_HEAD_SIZE = 512


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What a file is, when it is recognised but not read, and what the user may do."""

    kind: str
    advice: str = ""


_EXPORT = "save the weights with torch.save(model.state_dict(), path) or as safetensors"

# The first entry that fits decides.
_HEADS: list[tuple[Callable[[bytes], bool], str | _Refusal]] = [
    (lambda h: h.startswith(b"PK\3\4"), ZIP),
    (lambda h: h.startswith(b"\x89FRNN"), FRNN),
    (lambda h: h.startswith(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46"), TORCH_LEGACY),
    (lambda h: h.startswith(b"\x89HDF\r\n\x1a\n"), KERAS_WEIGHTS),
    (lambda h: h[257:262] == b"ustar", _Refusal("a tar archive (PyTorch 0.1 or .nemo)", _EXPORT)),
    (lambda h: h[8:9] == b"{" and h[4:8] == bytes(4), SAFETENSORS),
    (lambda h: h.startswith(b"GGUF"), _Refusal("a GGUF file")),
    (lambda h: h[4:8] == b"TFL3", _Refusal("a TensorFlow Lite file")),
    (lambda h: h.startswith(b"\x93NUMPY"), _Refusal("a single .npy array", "save a .npz")),
    (lambda h: h.startswith(b"\x80"), _Refusal("a plain Python pickle", _EXPORT)),
    (lambda h: h.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")),
     _Refusal("a compressed file", "unpack it first")),
    (lambda h: h.startswith(b"version https://git-lfs"),
     _Refusal("a Git LFS pointer, not the model itself", "fetch it with git lfs pull")),
    (lambda h: h.lstrip()[:1] == b"<", _Refusal("an HTML or XML text, perhaps a failed download")),
    (lambda h: h.lstrip()[:1] == b"{", JSON),
    # ir_version, then another field of an ONNX model; the reader checks all of them
    (lambda h: h[0] == 0x08 and 3 <= h[1] < 64 and h[2] in b"\x12\x1a\x22\x28\x32\x3a\x42", ONNX),
]  # fmt: skip

_Names = list[str]


def _has_below(names: _Names, tail: str) -> bool:
    """Whether a top-level folder holds the member `tail`."""
    return any(name.partition("/")[2] == tail for name in names)


_ARCHIVES: list[tuple[Callable[[_Names], bool], str | _Refusal]] = [
    (lambda n: _has_below(n, "constants.pkl") and _has_below(n, "data.pkl"), TORCHSCRIPT),
    (lambda n: _has_below(n, "archive_format") or _has_below(n, "models/model.json"), TORCH_EXPORT),
    (lambda n: "serialized_exported_program.json" in n, TORCH_EXPORT),
    (lambda n: _has_below(n, "data.pkl"), TORCH_ZIP),
    (lambda n: "config.json" in n and any(x.startswith("model.weights.") for x in n), KERAS),
    (lambda n: bool(n) and all(name.endswith(".npy") for name in n), NPZ),
]  # fmt: skip


def sniff_head(source: Source) -> str:
    """The kind of the file by its first bytes; refuses unsupported and unknown kinds."""
    if not source.size:
        raise FormatError("the file is empty")
    head = source.read(0, min(source.size, _HEAD_SIZE), "file head")
    for fits, kind in _HEADS:
        if fits(head.ljust(_HEAD_SIZE, b"\0")):
            return _accept(kind)
    raise FormatError(f"not a model file of a known kind (it begins with {head[:8]!r})")


def sniff_archive(names: list[str]) -> str:
    """The kind of a ZIP archive by its members; refuses unsupported and unknown kinds."""
    for fits, kind in _ARCHIVES:
        if fits(names):
            return _accept(kind)
    raise FormatError(f"a ZIP archive that holds no known model: {listing(names, 4) or 'empty'}")


def _accept(kind: str | _Refusal) -> str:
    if isinstance(kind, _Refusal):
        advice = f"; {kind.advice}" if kind.advice else ""
        raise FormatError(f"this is {kind.kind}: not supported{advice}")
    return kind
