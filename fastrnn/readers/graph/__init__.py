# SPDX-License-Identifier: MIT
"""Graphs of operators, and their translation to a description of layers."""
