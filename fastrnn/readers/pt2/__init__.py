# SPDX-License-Identifier: MIT
"""torch.export archives (.pt2)."""
