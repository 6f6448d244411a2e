# SPDX-License-Identifier: MIT
"""The engines that are compared, each run in a process of its own."""
