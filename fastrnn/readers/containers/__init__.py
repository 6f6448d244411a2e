# SPDX-License-Identifier: MIT
"""Containers that several formats share: ZIP, pickle, HDF5, JSON, safetensors, npz."""
