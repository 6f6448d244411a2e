# SPDX-License-Identifier: MIT
"""The corpus of `make fuzz-readers`, and files made of it, are read or refused."""

from __future__ import annotations

import random
import shutil

import pytest
from fuzz_readers import CORPUS, change, check, seeds

from fastrnn.readers import read_file


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_corpus_is_read(path):
    assert read_file(path).arrays


def test_fuzz_corpus(tmp_path):
    rng = random.Random(1)
    shutil.copytree(CORPUS, tmp_path, dirs_exist_ok=True)  # with the shards of the index
    for content in seeds():
        for changed in (content, *(change(rng, content) for _ in range(3))):
            (tmp_path / "m").write_bytes(changed)
            check(tmp_path / "m")
