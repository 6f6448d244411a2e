# SPDX-License-Identifier: MIT
"""Keras 3 files."""
