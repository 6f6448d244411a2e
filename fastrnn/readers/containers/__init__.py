# SPDX-License-Identifier: MIT
"""Container formats: ZIP, pickle, HDF5, JSON, safetensors and npz. Nothing is executed."""
