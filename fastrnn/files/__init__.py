# SPDX-License-Identifier: MIT
"""Models in files: load, save, and finding recurrent layers among the arrays of a file."""
