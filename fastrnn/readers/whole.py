# SPDX-License-Identifier: MIT
"""Whole models of every format that holds one: which importer describes which kind of file."""

from __future__ import annotations

from .containers.source import Source
from .containers.zip_archive import ZipArchive
from .description import Description
from .errors import FormatError, OnlyWeights
from .sniff import (
    FRNN,
    JSON,
    KERAS,
    ONNX,
    TORCH_EXPORT,
    TORCHSCRIPT,
    ZIP,
    sniff_archive,
    sniff_head,
)

_ONLY_WEIGHTS = (
    "the file ({}) holds only weights, not the layers of a model: take them by name with "
    "fastrnn.read_state_dict(path), or one recurrent layer with fastrnn.load(path, prefix=...); "
    "files of fastrnn (.frnn), torch.export (.pt2), TorchScript, ONNX and Keras 3 (.keras) hold "
    "whole models"
)


def describe_source(source: Source, folder: str, key: str | None, check_crc: bool) -> Description:
    """The layers of the model in an open file in `folder`."""
    kind = sniff_head(source)
    if kind == ZIP:
        archive = ZipArchive(source, check_crc)
        kind = sniff_archive(list(archive.members))
    if kind == TORCH_EXPORT:
        from .pt2.pt2_models import describe_pt2

        return describe_pt2(archive, source, key)
    if kind == ONNX:
        from .onnx.reader import describe_onnx

        return describe_onnx(source, folder, key)
    if kind not in (FRNN, TORCHSCRIPT, KERAS, JSON):
        raise OnlyWeights(_ONLY_WEIGHTS.format(kind))
    if key is not None:
        raise FormatError(f"key={key!r}: a file of this kind ({kind}) holds one model, without key")
    if kind == FRNN:
        from .frnn.frnn_reader import read_frnn

        return read_frnn(source, check_crc)
    if kind == TORCHSCRIPT:
        from .torchscript.script_models import describe_script

        return describe_script(archive, source)
    if kind == KERAS:
        from .keras.keras_archive import describe_keras

        return describe_keras(archive, source)
    from .audio_json import describe_audio

    return describe_audio(source)
