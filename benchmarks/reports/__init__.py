# SPDX-License-Identifier: MIT
"""Tables and plots of measurements."""
