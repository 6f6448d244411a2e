# SPDX-License-Identifier: MIT
"""Cases, workers and timing of engines in turn."""
