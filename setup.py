# SPDX-License-Identifier: MIT
"""Builds the compiled core from the C sources and the Cython file, with the same flags for all."""

import os
import re
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def version() -> str:
    """Return the version, which is defined in the C header only."""
    header = Path("src_c", "include", "fastrnn.h").read_text(encoding="utf-8")
    (found,) = re.findall(r'^#define FRNN_VERSION "(.+)"$', header, re.MULTILINE)
    return found


def c_sources() -> list[str]:
    """Return the sources of the library, without tests, benchmarks and examples."""
    folders = ("core", "isa", "platform")
    found = [path for folder in folders for path in sorted(Path("src_c", folder).rglob("*.c"))]
    return [path.as_posix() for path in found]


def compile_arguments() -> list[str]:
    if sys.platform == "win32":
        return ["/O2", "/std:c11", "/fp:precise"]
    # The compiler must not fuse a multiplication and an addition: the bits of results would change.
    # -g0: Python's own flags request debug information, which would be most of a wheel's size.
    flags = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]
    return flags + os.environ.get("FASTRNN_CFLAGS", "").split()


core = Extension(
    "fastrnn._core",
    sources=["fastrnn/_core.pyx", *c_sources()],
    depends=[path.as_posix() for path in sorted(Path("src_c").rglob("*.h"))],
    include_dirs=["src_c/include"],
    extra_compile_args=compile_arguments(),
)

# None is no object of a compiled class: a method that takes one would read its fields from None.
directives = {"language_level": "3", "allow_none_for_extension_args": False}

setup(
    version=version(),
    ext_modules=cythonize([core], compiler_directives=directives),
    # Always rebuild: file times do not show that CC or FASTRNN_CFLAGS has changed.
    options={"build_ext": {"force": True}},
)
