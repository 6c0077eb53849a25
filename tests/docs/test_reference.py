"""Tables of the reference agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

from meshmark import errors

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_every_exit_code_is_documented() -> None:
    table = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.exit_code for kind in kinds if issubclass(kind, errors.MeshmarkError)}
    assert documented == raised | {0, 3, 130, 143}
