# SPDX-License-Identifier: MIT
"""The .frnn format."""
