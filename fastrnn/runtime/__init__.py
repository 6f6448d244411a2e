# SPDX-License-Identifier: MIT
"""What a pass runs on: threads, the machine, plans, and the configuration."""
