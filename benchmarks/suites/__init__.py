# SPDX-License-Identifier: MIT
"""Benchmarks of fastrnn alone, with pytest-benchmark."""
