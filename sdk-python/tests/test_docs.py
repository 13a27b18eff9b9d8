"""The examples print what they should, and the snippets of the README run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*/python/main.py"))
SNIPPETS = re.findall(
    r"```python\n(.*?)```", (ROOT / "sdk-python/README.md").read_text(), re.DOTALL
)


def run(url: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "HOLDFAST_ENDPOINTS": url},
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_examples_and_snippets() -> None:
    assert len(EXAMPLES) == 5
    assert len(SNIPPETS) >= 6


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda p: p.parent.parent.name)
def test_example(url: str, program: Path) -> None:
    expected = (program.parent.parent / "expected.txt").read_text()
    assert run(url, str(program)) == expected


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet(url: str, number: int) -> None:
    run(url, "-c", SNIPPETS[number].replace("http://127.0.0.1:7480", url))
