"""Hardware profiles: each figure has a source, and what is wrong in a file is told with its line."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from meshmark import planfile
from meshmark.cli import app
from meshmark.errors import PlanError, UsageError
from meshmark.planfile.profiles import profile_loads

SCHEMA = Path(planfile.__file__).parents[1] / "resources" / "schemas" / "profile.schema.json"
SMALL = """name: small
sources: {me: a guess}
broker: {machine: box, disk: {kind: ssd, writeBytesS: {value: 1e8, source: me}}}
client: {machine: box}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        profile_loads(text, "f")
    return caught.value.problems


@pytest.mark.parametrize("name", planfile.profile_names())
def test_built_in_profiles_read_back_from_what_is_shown_of_them(name: str) -> None:
    profile = planfile.find_profile(name)
    assert profile.name == name
    assert profile_loads(planfile.dump_profile(profile), "shown") == profile


def test_the_documents_machines_are_as_it_says() -> None:
    eks, gke = (planfile.find_profile(name) for name in ("eks-r5.4xlarge-io1", "gke-n1-standard-16-pd-ssd"))
    for profile, disk_mb_s, flow_gbit_s in ((eks, 437.5, 3.01), (gke, 400, 7.60)):
        figures = dict(profile.figures())
        assert figures["broker.container_cpus"].value == 4
        assert figures["broker.heap_bytes"].value == 10e9
        assert figures["broker.disk.write_bytes_s"].value == disk_mb_s * 1e6
        assert figures["broker.network.single_flow_bytes_s"].value * 8 == pytest.approx(flow_gbit_s * 1e9)
        # At replication factor 3 a broker takes in all that goes to its disk: the probe cannot be the limit.
        assert figures["broker.network.bytes_s"].value > figures["broker.network.single_flow_bytes_s"].value


def test_the_example_of_disks_alone_is_the_document_s() -> None:
    example = planfile.find_profile(str(Path(__file__).parents[2] / "examples" / "document-disks.yaml"))
    document = dict(planfile.find_profile("eks-r5.4xlarge-io1").figures())
    assert [(path, figure.value) for path, figure in example.figures()] == [
        (path, document[path].value) for path in ("broker.disk.write_bytes_s", "broker.disk.operations_s")
    ]


def test_unlimited_has_no_figure() -> None:
    assert planfile.find_profile("unlimited").figures() == []


def test_a_profile_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SMALL, encoding="utf-8")
    assert [path for path, _ in planfile.find_profile(str(file)).figures()] == ["broker.disk.write_bytes_s"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("source: me", "source: you", "f:1:1: sources lacks you: each figure needs one"),
        ("value: 1e8", "value: -1", "f:3:63: broker.disk.writeBytesS.value: -1 is not allowed"),
        ("writeBytesS", "writeByteS", "unknown key (did you mean writeBytesS?)"),
        ("client: {machine: box}", "", "client: missing; must be a mapping with"),
    ],
    ids=["source", "negative", "unknown", "missing"],
)
def test_mistakes_are_told_with_their_place(old: str, new: str, expected: str) -> None:
    found = problems(SMALL.replace(old, new))
    assert any(expected in text for text in found), found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SMALL.replace("value: 1e8", "value: -1"), "error: the profile has a mistake\n"),
        ("name: [", "error: the profile has a mistake\n"),
        (None, "No such file or directory; give a readable profile file"),
    ],
    ids=["value", "YAML", "no file"],
)
def test_a_profile_s_mistakes_are_told_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, told: str
) -> None:
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert app.main(["run", "--backend", "simulated", "--profile", str(file), "--out", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err


def test_operations_that_the_bandwidth_does_not_allow_are_refused() -> None:
    text = SMALL.replace("source: me}}}", "source: me}, operationsS: {value: 3e4, source: me}}}")
    (told,) = problems(text)
    assert "operationsS 30000 of 4,096 bytes are above writeBytesS 1e+08" in told


@pytest.mark.parametrize("name", planfile.profile_names())
def test_a_disk_has_a_size_or_says_why_not(name: str) -> None:
    disk = planfile.find_profile(name).broker.disk
    assert disk is None or bool(disk.size_bytes) != bool(disk.size_unknown)


@pytest.mark.parametrize("name", planfile.profile_names())
def test_a_disk_has_operations_or_says_why_not(name: str) -> None:
    disk = planfile.find_profile(name).broker.disk
    assert disk is None or bool(disk.operations_s) != bool(disk.operations_unknown)


def test_operations_that_are_known_and_unknown_are_refused() -> None:
    (told,) = problems(
        SMALL.replace("source: me}}}", "source: me}, operationsS: {value: 1, source: me}, operationsUnknown: x}}")
    )
    assert "operationsS and operationsUnknown exclude each other" in told


def test_a_size_that_is_known_and_unknown_is_refused() -> None:
    (told,) = problems(
        SMALL.replace("source: me}}}", "source: me}, sizeBytes: {value: 1, source: me}, sizeUnknown: x}}")
    )
    assert "sizeBytes and sizeUnknown exclude each other" in told


def test_an_empty_file_is_no_profile() -> None:
    assert "no profile" in problems("# nothing\n")[0]


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean eks-r5\.4xlarge-io1"):
        planfile.find_profile("eks-r5.4xlarge-io2")


def test_the_committed_schema_is_the_codes_and_takes_what_is_shown() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == planfile.profile_schema_text()
    validator = jsonschema.Draft202012Validator(json.loads(planfile.profile_schema_text()))
    values = planfile.find_profile("gke-n2-standard-16-pd-ssd").model_dump(mode="json", exclude_none=True)
    assert list(validator.iter_errors(values)) == []
    assert list(validator.iter_errors({**values, "cpus": 3}))


def test_profiles_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["profile", "list"]) == 0
    assert "eks-r5.4xlarge-io1  " in capsys.readouterr().out
    assert app.main(["profile", "show", "eks-r5.4xlarge-io1"]) == 0
    assert "source: document" in capsys.readouterr().out
    assert app.main(["profile", "show", "eks"]) == 2
