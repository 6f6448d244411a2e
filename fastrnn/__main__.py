# SPDX-License-Identifier: MIT
"""Runs the command line as `python -m fastrnn`."""

from fastrnn.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
