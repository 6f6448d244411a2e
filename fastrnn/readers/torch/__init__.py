# SPDX-License-Identifier: MIT
"""Files of torch.save."""
