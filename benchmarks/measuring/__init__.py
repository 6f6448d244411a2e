# SPDX-License-Identifier: MIT
"""Cases, workers and clocks: how engines are run in turn and timed."""
