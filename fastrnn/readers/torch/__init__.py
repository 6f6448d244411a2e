# SPDX-License-Identifier: MIT
"""Files that torch.save writes, and the state dicts in them."""
