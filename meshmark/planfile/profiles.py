"""Profile files: YAML -> Profile, with every mistake placed at its line, as plan files are read; and back."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from meshmark.errors import PlanError, UsageError
from meshmark.hardware import Hardware
from meshmark.planfile.reading import check, read_text, validate
from meshmark.planfile.schema import did_you_mean
from meshmark.planfile.tree import START, Problem, parse
from meshmark.planfile.writing import yaml_text
from meshmark.profile import Profile

UNLIMITED = "unlimited"
RECORDED = "hardware.json"
"""Of a run that has a profile."""


def profile_names() -> list[str]:
    """Of the profiles that come with meshmark."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _profiles().iterdir() if entry.name.endswith(".yaml"))


def find_profile(name: str) -> Profile:
    """A profile that comes with meshmark, by its name, a file, by its path, or that of a run, by the path of its
    `hardware.json`. UsageError for an unknown name, PlanError with all mistakes of a file."""
    path = Path(name)
    if path.name == RECORDED:
        return _recorded(path)
    if "/" in name or path.suffix in (".yaml", ".yml"):
        return profile_loads(read_text(path, "profile"), str(path))
    if name not in profile_names():
        raise UsageError(
            f"no profile is called {name}{did_you_mean(name, profile_names())}",
            hint=f"there are: {', '.join(profile_names())}; a file is given by its path",
        )
    return profile_loads(_profiles().joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def _recorded(path: Path) -> Profile:
    try:
        return Hardware.model_validate_json(read_text(path)).profile
    except ValidationError as error:
        raise PlanError([f"{path}: not as a run records its hardware: {error.errors()[0]['msg']}"]) from error


def profile_loads(text: str, source: str) -> Profile:
    """PlanError with all problems of the text; `source` is what messages call it."""
    root, problems = parse(text)
    if root is None or not isinstance(root.value, dict) or not root.value:
        problems = problems or [Problem(START, "", "no profile (`meshmark profile show` prints one)")]
        raise PlanError([f"{source}:{problem}" for problem in problems], "profile")
    problems = [*problems, *check(Profile, root, {problem.key for problem in problems})]
    if not problems:
        try:
            return validate(Profile, root)
        except ValidationError as error:
            said = [str(item["msg"]).removeprefix("Value error, ") for item in error.errors()]
            problems = [Problem(root.at or START, "", text) for text in said]
    raise PlanError([f"{source}:{problem}" for problem in sorted(set(problems))], "profile")


def dump_profile(profile: Profile) -> str:
    """The profile as a YAML file; what it leaves out is left out."""
    return yaml_text(_told(profile.model_dump(mode="json", exclude_none=True)))


def profile_schema_text() -> str:
    """JSON Schema (2020-12) of profile files, as committed in resources/schemas."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Profile.model_json_schema()}
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _told(value: Any) -> Any:
    """Without empty texts, and whole numbers as such."""
    if isinstance(value, dict):
        return {key: _told(item) for key, item in value.items() if item not in ("", {})}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _profiles() -> Any:
    return files("meshmark") / "resources" / "profiles"
