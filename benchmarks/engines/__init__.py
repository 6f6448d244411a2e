# SPDX-License-Identifier: MIT
"""The engines that are compared, each in its own process."""
