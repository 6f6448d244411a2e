# SPDX-License-Identifier: MIT
"""TorchScript archives."""
