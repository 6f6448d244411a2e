# SPDX-License-Identifier: MIT
"""Benchmarks of fastrnn alone, by pytest-benchmark."""
