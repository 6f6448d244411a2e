# SPDX-License-Identifier: MIT
"""ONNX models: their initializers by name, and whole models as a description of layers."""
