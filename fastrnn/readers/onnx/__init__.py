# SPDX-License-Identifier: MIT
"""ONNX models: their initializers by name, and whole models as a description of layers."""

from __future__ import annotations

from .reader import describe_onnx, read_onnx

__all__ = ["describe_onnx", "read_onnx"]
