# SPDX-License-Identifier: MIT
"""Tables and plots of what was measured."""
