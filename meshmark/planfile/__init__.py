"""Plan files: YAML -> Plan with every mistake placed at its line, Plan -> YAML, and how much effort a run is worth."""

from meshmark.planfile.effort import (
    CERTAINTY,
    Effort,
    effort,
    estimate_seconds,
    explain_seconds,
    explain_trials,
    explained,
    sampled,
    samples_seconds,
    select,
)
from meshmark.planfile.hardware import equipped, furnished, kinds_limited, limits_hosts, limits_needed, unmasked
from meshmark.planfile.profiles import dump_profile, find_profile, profile_names, profile_schema_text
from meshmark.planfile.provider import provided
from meshmark.planfile.reading import builtin, builtin_names, load, loads
from meshmark.planfile.schema import schema, schema_text
from meshmark.planfile.versus import versus
from meshmark.planfile.writing import dump

__all__ = [
    "CERTAINTY",
    "Effort",
    "builtin",
    "builtin_names",
    "dump",
    "dump_profile",
    "effort",
    "equipped",
    "estimate_seconds",
    "explain_seconds",
    "explain_trials",
    "explained",
    "find_profile",
    "furnished",
    "kinds_limited",
    "limits_hosts",
    "limits_needed",
    "load",
    "loads",
    "profile_names",
    "profile_schema_text",
    "provided",
    "sampled",
    "samples_seconds",
    "schema",
    "schema_text",
    "select",
    "unmasked",
    "versus",
]
