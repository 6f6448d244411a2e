# SPDX-License-Identifier: MIT
"""torch.export archives (.pt2): the weights and the graphs of their models, nothing executed.

Three layouts hold the same: since PyTorch 2.9 one member per storage and a JSON list of the
weights, in 2.8 a torch.save file of them inside, until 2.7 such files at the top of the archive.
"""

from __future__ import annotations

import io
from typing import NamedTuple, cast

from ..containers.elements import Entry, Unreadable
from ..containers.json_text import LARGEST_TEXT, parse_json
from ..containers.pickle_vm import Global, PickledObject, Storage
from ..containers.source import Source
from ..containers.zip_archive import ZipArchive
from ..entry_names import check_name
from ..errors import FormatError, listing, quote
from ..torch.state_dict import find_state_dict
from ..torch.torch_zip import TorchArchive

FORMAT = "torch export"
_OLD_PROGRAM = "serialized_exported_program.json"
_COMPILED = ("data/aotinductor/", "data/executorch/", "data/mtia/")
_XL = "data/xl_model_weights/"
_LONGEST_NOTE = 64
_MAJORS = (7, 8)
# The numbers of torch's ScalarType in the schema, as far as they are read.
_SCALAR_TYPES = {
    1: "torch.uint8", 2: "torch.int8", 3: "torch.int16", 4: "torch.int32", 5: "torch.int64",
    6: "torch.float16", 7: "torch.float32", 8: "torch.float64", 10: "torch.complex64",
    11: "torch.complex128", 12: "torch.bool", 13: "torch.bfloat16", 28: "torch.uint16",
    34: "torch.uint32", 35: "torch.uint64",
}  # fmt: skip
_STRIDED = 7
_UNTYPED = "torch.storage.UntypedStorage"

Json = dict[str, object]


class Program(NamedTuple):
    """One model of an archive: its exported program, weights and other constants."""

    name: str
    json: Json
    weights: dict[str, Entry]
    constants: dict[str, Entry]


def read_programs(archive: ZipArchive, source: Source) -> list[Program]:
    """All models of an archive."""
    if _OLD_PROGRAM in archive.members:
        return [_read_old(archive, source)]
    members = TorchArchive(archive, source)
    names = members.names
    _check_notes(members)
    for name in names:
        if name.startswith(_COMPILED):
            raise FormatError(
                f"member {quote(name)} is compiled code (an AOTInductor or ExecuTorch package), "
                "which is never loaded; export the model with torch.export.save"
            )
    models = [name for name in names if name.startswith("models/") and name.endswith(".json")]
    if not models:
        raise FormatError("the archive holds no exported program (models/*.json)")
    return [_read_model(members, source, name[7:-5]) for name in models]


def _check_notes(members: TorchArchive) -> None:
    for name, wanted in (("archive_format", b"pt2"), ("archive_version", b"0")):
        if name in members.names:
            found = members.read(name, _LONGEST_NOTE).strip()
            if found != wanted:
                raise FormatError(f"{name} is {found!r}, expected {wanted!r}")


def _read_model(members: TorchArchive, source: Source, model: str) -> Program:
    where = f"models/{model}.json"
    program = _program(members.read(where, LARGEST_TEXT), where, source)
    tables: list[dict[str, Entry]] = []
    for folder, kind in (("data/weights", "weights"), ("data/constants", "constants")):
        blob, config = f"{folder}/{model}.pt", f"{folder}/{model}_{kind}_config.json"
        if blob in members.names:
            tables.append(_read_blob(members.array(blob).tobytes(), blob, source))
        elif config in members.names:
            tables.append(_read_payloads(members, source, folder, config))
        else:
            large = any(name.startswith(_XL) for name in members.names)
            hint = f" (the weights are in {_XL}, which is not read)" if large else ""
            raise FormatError(f"member {quote(config)} is missing from the archive{hint}")
    return Program(model, program, *tables)


def _read_old(archive: ZipArchive, source: Source) -> Program:
    """The layout of torch 2.5 to 2.7: an ordinary ZIP file without a common folder."""
    version = archive.read("version", _LONGEST_NOTE).strip()
    major, _, minor = version.partition(b".")
    if not (major.isdigit() and minor.isdigit()):
        raise FormatError(f"unknown version {version!r} of the exported program")
    program = _program(archive.read(_OLD_PROGRAM, LARGEST_TEXT), _OLD_PROGRAM, source)
    tables = []
    for kind in ("state_dict", "constants"):
        name = f"serialized_{kind}.pt"
        tables.append(_read_blob(archive.read_array(name).tobytes(), name, source))
    return Program("model", program, *tables)


def _program(raw: bytes, where: str, source: Source) -> Json:
    """The JSON of an exported program, of a schema that is known."""
    program = json_object(parse_json(raw, where, source.budget), where)
    version = json_object(program.get("schema_version"), f"{where}: schema_version")
    major = version.get("major")
    if major not in _MAJORS or type(major) is not int:
        raise FormatError(f"{where}: schema version {major!r}, expected one of {_MAJORS}")
    return program


def _read_blob(data: bytes, where: str, source: Source) -> dict[str, Entry]:
    """The tensors of a torch.save file inside the archive."""
    source.budget.spend(len(data), where)
    if not data:  # there was nothing to save
        return {}
    inner = Source(cast(io.BufferedReader, io.BytesIO(data)), len(data))
    inner.budget = source.budget
    try:
        if not data.startswith(b"PK\3\4"):
            raise FormatError("not a torch.save archive")
        members = TorchArchive(ZipArchive(inner), inner)
        root = members.pickle("data.pkl").value
        if not isinstance(root, dict):
            raise FormatError("it does not hold a dict")
        loader = members.loader("data")
        state = find_state_dict(root, "", source.budget)[0] if root else {}
        entries: dict[str, Entry] = {
            str(name): Unreadable(f"{quote(str(name))} is a pickled object: not supported")
            for name in root
        }
        return entries | {name: loader.entry(name, value) for name, value in state.items()}
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def _read_payloads(
    members: TorchArchive, source: Source, folder: str, config: str
) -> dict[str, Entry]:
    """The tensors that a JSON list names, each a view of a member that is a whole storage."""
    table = json_object(
        parse_json(members.read(config, LARGEST_TEXT), config, source.budget), config
    )
    loader = members.loader(folder)
    entries: dict[str, Entry] = {}
    for name, item in json_object(table.get("config"), f"{config}: config").items():
        what = f"tensor {quote(check_name(name))}"
        payload = json_object(item, what)
        path = payload.get("path_name")
        if not isinstance(path, str) or "/" in path:
            raise FormatError(f"{what}: its path_name is not the name of a member")
        if payload.get("use_pickle") is not False or not path.startswith(("weight_", "tensor_")):
            entries[name] = Unreadable(f"{what} is a pickled object ({quote(path)}): not supported")
            continue
        size = members.size(f"{folder}/{path}")
        meta = json_object(payload.get("tensor_meta"), f"{what}: tensor_meta")
        entries[name] = loader.entry(name, _tensor(meta, path, size, what))
    return entries


def _tensor(meta: Json, path: str, size: int, what: str) -> object:
    """A tensor's description in the form that a pickle has."""
    dtype = meta.get("dtype")
    kind = _SCALAR_TYPES.get(dtype) if type(dtype) is int else None
    if kind is None:
        return Unreadable(f"{what} has elements of type {dtype!r}: not supported")
    if meta.get("layout") != _STRIDED:
        return Unreadable(f"{what} is not strided (layout {meta.get('layout')!r}): not supported")
    shape, strides = (_sizes(meta.get(name), what) for name in ("sizes", "strides"))
    (offset,) = _sizes([meta.get("storage_offset")], what)
    args: tuple[object, ...] = (
        Storage(_UNTYPED, path, size),
        offset,
        shape,
        strides,
        False,
        {},
        Global(kind),
    )
    return PickledObject("torch._utils._rebuild_tensor_v3", args)


def _sizes(items: object, what: str) -> tuple[object, ...]:
    """The numbers of a list of {"as_int": n}."""
    if not isinstance(items, list):
        raise FormatError(f"{what}: its sizes are not a list")
    return tuple(item.get("as_int") if isinstance(item, dict) else None for item in items)


def json_object(value: object, what: str) -> Json:
    """A value that must be an object."""
    if not isinstance(value, dict):
        raise FormatError(f"{what} is not an object")
    return value


def choose_program(programs: list[Program], model: str | None) -> Program:
    """The only model, or the one of a name."""
    found = [program for program in programs if model in (None, program.name)]
    if len(found) != 1:
        names = listing([program.name for program in programs])
        raise FormatError(f"choose one of the models {names} with key=, got {model!r}")
    return found[0]
