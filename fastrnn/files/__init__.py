# SPDX-License-Identifier: MIT
"""Models in files: load, save, and what finds a recurrent layer among the arrays of a file."""
