# SPDX-License-Identifier: MIT
"""The compiled core: every C source and the Cython file over them, one flag set for all."""

import os
import re
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def version() -> str:
    """The version, which stands in the C header alone."""
    header = Path("src_c", "include", "fastrnn.h").read_text(encoding="utf-8")
    (found,) = re.findall(r'^#define FRNN_VERSION "(.+)"$', header, re.MULTILINE)
    return found


def c_sources() -> list[str]:
    """Sources of the library; tests, benchmarks and examples are programs of their own."""
    folders = ("core", "isa", "platform")
    found = [path for folder in folders for path in sorted(Path("src_c", folder).rglob("*.c"))]
    return [path.as_posix() for path in found]


def compile_arguments() -> list[str]:
    if sys.platform == "win32":
        return ["/O2", "/std:c11", "/fp:precise"]
    # A product and a sum fuse where the kernels say so and nowhere else: bits depend on it.
    # Python's own flags ask for debug information, which is most of a wheel's size.
    flags = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]
    return flags + os.environ.get("FASTRNN_CFLAGS", "").split()


core = Extension(
    "fastrnn._core",
    sources=["fastrnn/_core.pyx", *c_sources()],
    depends=[path.as_posix() for path in sorted(Path("src_c").rglob("*.h"))],
    include_dirs=["src_c/include"],
    extra_compile_args=compile_arguments(),
)

setup(
    version=version(),
    ext_modules=cythonize([core], compiler_directives={"language_level": "3"}),
    # Times of files do not tell that CC or FASTRNN_CFLAGS has changed since the last build.
    options={"build_ext": {"force": True}},
)
