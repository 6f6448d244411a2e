# SPDX-License-Identifier: MIT
"""The formats of model files: how each is recognized, and what reads it.

To support a further format, write its reader in a folder next to this file and add its row to
`FORMATS`. Readers are imported when a file of their format is read: they are most of what `import
fastrnn` would cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .containers.elements import Entry
from .containers.source import Source
from .containers.zip_archive import ZipArchive
from .description import Description, RecurrentOptions, flattened
from .errors import FormatError

if TYPE_CHECKING:
    from .torch.torch_content import TorchContent

_HEAD_SIZE = 512

# Arrays by name, and what the file says of its recurrent layers.
Arrays = tuple[dict[str, Entry], RecurrentOptions]


@dataclass(frozen=True)
class OpenFile:
    """A model file that is open, with what the readers of any format need."""

    source: Source
    folder: str | None  # of the file, if known: a format may keep arrays in other files there
    check_crc: bool
    zip: ZipArchive | None = None  # if it is one

    @property
    def archive(self) -> ZipArchive:
        assert self.zip is not None
        return self.zip


@dataclass(frozen=True)
class Format:
    """A format: `head` recognizes the first bytes of a file, `members` the names in a ZIP archive.

    `arrays` returns the arrays by name and what the file says of its recurrent layers; `describe`
    the model as a chain of layers, if the format holds whole models. Both take a key, which is None
    unless `arrays_by_key` or `describe_by_key` is set.
    """

    name: str
    arrays: Callable[[OpenFile, str | None], Arrays]
    describe: Callable[[OpenFile, str | None], Description] | None = None
    head: Callable[[bytes], bool] | None = None
    members: Callable[[list[str]], bool] | None = None
    arrays_by_key: bool = False  # else a key is the path of a module in a flat state dict
    describe_by_key: bool = False  # else a file holds one model


def recognize(source: Source, folder: str | None, check_crc: bool) -> tuple[OpenFile, Format]:
    """Tell the format of an open file; FormatError for unsupported and unknown ones."""
    if not source.size:
        raise FormatError("the file is empty")
    head = source.read(0, min(source.size, _HEAD_SIZE), "file head")
    if head.startswith(b"PK\3\4"):
        file = OpenFile(source, folder, check_crc, ZipArchive(source, check_crc))
        names = list(file.archive.members)
        for known in FORMATS:
            if known.members is not None and known.members(names):
                return file, known
        # No name and no byte of a file that may be anything, such as somebody's letters.
        raise FormatError(f"a ZIP archive that holds no known model, but {len(names)} other files")
    padded = head.ljust(_HEAD_SIZE, b"\0")
    for known in FORMATS:
        if known.head is not None and known.head(padded):
            return OpenFile(source, folder, check_crc), known
    for fits, what, advice in _UNSUPPORTED:
        if fits(padded):
            raise FormatError(f"this is {what}: not supported{'; ' * bool(advice)}{advice}")
    raise FormatError("not a model file of a known kind")


# --- Readers ---


def _frnn(file: OpenFile, key: str | None) -> Description:
    from .frnn.frnn_reader import read_frnn

    return read_frnn(file.source, file.check_crc)


def _frnn_arrays(file: OpenFile, key: str | None) -> Arrays:
    return flattened(_frnn(file, key))


def _torch(file: OpenFile) -> TorchContent:
    from .torch.torch_legacy import open_torch_legacy
    from .torch.torch_zip import open_torch_zip

    source = file.source
    return open_torch_zip(file.zip, source) if file.zip else open_torch_legacy(source)


def _torch_model(file: OpenFile, key: str | None) -> Description:
    return _torch(file).describe(key)


def _torch_arrays(file: OpenFile, key: str | None) -> Arrays:
    return _torch(file).arrays(key)


def _torchscript(file: OpenFile, key: str | None) -> Description:
    from .torchscript.script_models import describe_script

    return describe_script(file.archive, file.source)


def _torchscript_arrays(file: OpenFile, key: str | None) -> Arrays:
    from .torchscript.script_archive import read_torchscript

    return read_torchscript(file.archive, file.source)


def _torch_export(file: OpenFile, key: str | None) -> Description:
    from .pt2.pt2_models import describe_pt2

    return describe_pt2(file.archive, file.source, key)


def _torch_export_arrays(file: OpenFile, key: str | None) -> Arrays:
    from .pt2.pt2_models import read_pt2

    return read_pt2(file.archive, file.source)


def _keras(file: OpenFile, key: str | None) -> Description:
    from .keras.keras_archive import describe_keras

    return describe_keras(file.archive, file.source)


def _keras_arrays(file: OpenFile, key: str | None) -> Arrays:
    from .keras.keras_archive import read_keras_archive

    return read_keras_archive(file.archive, file.source)


def _keras_h5(file: OpenFile, key: str | None) -> Description:
    from .keras.keras_archive import describe_keras_h5

    return describe_keras_h5(file.source)


def _keras_h5_arrays(file: OpenFile, key: str | None) -> Arrays:
    from .keras.keras_archive import read_keras_h5

    return read_keras_h5(file.source)


def _onnx(file: OpenFile, key: str | None) -> Description:
    from .onnx.reader import describe_onnx

    return describe_onnx(file.source, file.folder, key)


def _onnx_arrays(file: OpenFile, key: str | None) -> Arrays:
    from .onnx.reader import read_onnx

    return read_onnx(file.source, file.folder)


def _safetensors_arrays(file: OpenFile, key: str | None) -> Arrays:
    from .containers.safetensors import read_safetensors

    return read_safetensors(file.source), {}


def _npz_arrays(file: OpenFile, key: str | None) -> Arrays:
    from .containers.npz import read_npz

    return dict(read_npz(file.archive, file.source)), {}


def _json(file: OpenFile, key: str | None) -> Description:
    from .json_models.json_reader import describe_json

    return describe_json(file.source)


def _json_arrays(file: OpenFile, key: str | None) -> Arrays:
    from .json_models.json_reader import read_json

    return read_json(file.source, file.folder)


# --- Recognizing ---


def _in_folder(names: Sequence[str], member: str) -> bool:
    """Whether a top-level folder holds the member."""
    return any(name.partition("/")[2] == member for name in names)


def _is_onnx(head: bytes) -> bool:
    """Begins with ir_version, then another field of a model; the reader checks all of them."""
    return head[0] == 0x08 and 3 <= head[1] < 64 and head[2] in b"\x12\x1a\x22\x28\x32\x3a\x42"


# The first one that fits decides.
FORMATS: tuple[Format, ...] = (
    Format("frnn", _frnn_arrays, _frnn, head=lambda h: h.startswith(b"\x89FRNN")),
    Format(
        "torch legacy",
        _torch_arrays,
        _torch_model,
        head=lambda h: h.startswith(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46"),
        arrays_by_key=True,
        describe_by_key=True,
    ),
    Format(
        "torchscript",
        _torchscript_arrays,
        _torchscript,
        members=lambda n: _in_folder(n, "constants.pkl") and _in_folder(n, "data.pkl"),
    ),
    Format(
        "torch export",
        _torch_export_arrays,
        _torch_export,
        members=lambda n: (
            _in_folder(n, "archive_format")
            or _in_folder(n, "models/model.json")
            or "serialized_exported_program.json" in n
        ),
        describe_by_key=True,
    ),
    Format(
        "torch zip",
        _torch_arrays,
        _torch_model,
        members=lambda n: _in_folder(n, "data.pkl"),
        arrays_by_key=True,
        describe_by_key=True,
    ),
    Format(
        "keras",
        _keras_arrays,
        _keras,
        members=lambda n: "config.json" in n and any(x.startswith("model.weights.") for x in n),
    ),
    Format("npz", _npz_arrays, members=lambda n: bool(n) and all(x.endswith(".npy") for x in n)),
    Format(
        "keras h5", _keras_h5_arrays, _keras_h5, head=lambda h: h.startswith(b"\x89HDF\r\n\x1a\n")
    ),
    Format(
        "safetensors", _safetensors_arrays, head=lambda h: h[8:9] == b"{" and h[4:8] == bytes(4)
    ),
    Format("json", _json_arrays, _json, head=lambda h: h.lstrip()[:1] == b"{"),
    Format("onnx", _onnx_arrays, _onnx, head=_is_onnx, describe_by_key=True),
)

_SAVE = "save the weights with torch.save(model.state_dict(), path) or as safetensors"

# Files that are recognized but not read: what they are, and advice.
_UNSUPPORTED: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (lambda h: h[257:262] == b"ustar", "a tar archive (PyTorch 0.1 or .nemo)", _SAVE),
    (lambda h: h.startswith(b"GGUF"), "a GGUF file", ""),
    (lambda h: h[4:8] == b"TFL3", "a TensorFlow Lite file", ""),
    (lambda h: h.startswith(b"\x93NUMPY"), "a single .npy array", "save a .npz"),
    (lambda h: h.startswith(b"\x80"), "a plain Python pickle", _SAVE),
    (lambda h: h.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")),
     "a compressed file", "unpack it first"),
    (lambda h: h.startswith(b"version https://git-lfs"),
     "a Git LFS pointer, not the model itself", "fetch it with git lfs pull"),
    (lambda h: h.lstrip()[:1] == b"<", "an HTML or XML text, perhaps a failed download", ""),
)  # fmt: skip
