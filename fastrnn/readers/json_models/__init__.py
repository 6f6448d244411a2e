# SPDX-License-Identifier: MIT
"""Models in JSON texts."""
