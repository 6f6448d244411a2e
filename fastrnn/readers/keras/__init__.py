# SPDX-License-Identifier: MIT
"""Keras files."""
