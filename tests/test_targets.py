"""Each test runs in exactly one target of the Makefile that `.ci/run` calls."""

import re
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

from tests.conftest import TARGETS
from tests.quick import LEFT_OUT

ROOT = Path(__file__).resolve().parent.parent
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
CALLED = re.findall(r"^check ([\w-]+)", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)


def list_selections():
    """List what each run of pytest in those targets selects, but for runs that name files."""
    elsewhere = re.search(r"^ELSEWHERE := (.*)", MAKEFILE, re.MULTILINE).group(1)
    return [
        Expression.compile(expression.strip('"').replace("$(ELSEWHERE)", elsewhere))
        for target in CALLED
        for expression in re.findall(
            r'\$\(PYTEST\).* -m ("[^"]+"|\w+)',
            re.search(rf"^{target}:.*\n(?:\t.*\n)+", MAKEFILE, re.MULTILINE).group(),
        )
    ]


@pytest.mark.parametrize(
    "marks", [set(), *({name} for name in sorted(TARGETS | LEFT_OUT))], ids=str
)
def test_each_test_has_one_target(marks):
    """
    Whether a test has one of the marks or none, one run selects it.
    """
    selected = [
        each for each in list_selections() if each.evaluate(lambda name, **_: name in marks)
    ]

    assert 1 == len(selected)
