"""What is written: YAML that reads back the same however it is read, the same each time, beside nothing of others."""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from ruamel.yaml import YAML

from meshmark.backends.kubernetes import Manifest, asked, manifests, mesh, target, texts, write
from meshmark.cli import app
from meshmark.cli.export import export
from meshmark.data_plane import DataPlane
from meshmark.errors import NoSpace, UsageError
from tests.planes import EVERYWHERE, everywhere

Capture = pytest.CaptureFixture[str]


def read(text: str, version: tuple[int, int] = (1, 2)) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml.load(text)


def exported(data_plane: DataPlane) -> tuple[tuple[Manifest, ...], dict[str, str]]:
    plan = everywhere()
    scenario = plan.scenario(data_plane)
    made = manifests(plan, scenario, target(plan, scenario, kafka_version="4.4.0"))
    return made, texts(made)


@pytest.mark.parametrize("version", [(1, 1), (1, 2)])
@pytest.mark.parametrize("data_plane", EVERYWHERE)
def test_files_read_back_as_what_was_meant(data_plane: DataPlane, version: tuple[int, int]) -> None:
    made, written = exported(data_plane)
    for manifest in made:
        assert read(written[manifest.file], version) == manifest.body
    assert read(written["kustomization.yaml"])["resources"] == [manifest.file for manifest in made]
    assert set(written) == {"kustomization.yaml", *(manifest.file for manifest in made)}


@pytest.mark.parametrize("text", ["no", "Yes", "on", "y", "1e3", "010", "0x1f", "1.5", "null", "-", "2026-11-26", ""])
def test_text_stays_text_in_yaml_1_1(text: str) -> None:
    written = texts([Manifest(file="it.yaml", body={"a": text})])["it.yaml"]
    assert read(written, (1, 1)) == read(written) == {"a": text}


def test_an_export_is_the_same_each_time() -> None:
    assert exported(DataPlane.ISTIO_MTLS) == exported(DataPlane.ISTIO_MTLS)


def test_no_file_has_a_key_or_a_path_of_this_machine() -> None:
    for data_plane in EVERYWHERE:
        whole = "".join(exported(data_plane)[1].values())
        assert "PRIVATE KEY" not in whole
        assert str(Path(__file__).parents[3]) not in whole


def test_a_second_export_replaces_the_first_and_touches_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, exported(DataPlane.ISTIO)[1])
    (tmp_path / "mine.yaml").write_text("mine: true\n", encoding="utf-8")
    plain = exported(DataPlane.PLAIN)[1]
    write(tmp_path, plain)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml", *plain}
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in plain} == plain


def test_a_second_export_keeps_copies_of_the_first(tmp_path: Path) -> None:
    first = exported(DataPlane.ISTIO)[1]
    write(tmp_path, first)
    for name in ("service-mine.yaml", "peer-authentication-old.yaml"):
        shutil.copy(tmp_path / "service.yaml", tmp_path / name)
    kustomization = tmp_path / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text(encoding="utf-8") + "  - service-mine.yaml\n", encoding="utf-8")
    plain = exported(DataPlane.PLAIN)[1]
    write(tmp_path, plain)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"service-mine.yaml", "peer-authentication-old.yaml", *plain}


def test_files_that_not_every_export_has_are_those_that_one_may_leave() -> None:
    first, *others = [set(exported(data_plane)[1]) for data_plane in EVERYWHERE]
    assert first.union(*others) - first.intersection(*others) == set(mesh.FILES), "monitors are asked for"


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text("mine: true\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"did not write: service\.yaml"):
        write(tmp_path, exported(DataPlane.PLAIN)[1])
    assert [path.name for path in tmp_path.iterdir()] == ["service.yaml"]


@pytest.mark.parametrize("name", ["service.yaml", "kustomization.yaml"])
def test_nothing_is_written_through_a_link_that_leads_nowhere(name: str, tmp_path: Path) -> None:
    where = tmp_path / "out"
    where.mkdir()
    (where / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=f"did not write: {name}"):
        write(where, exported(DataPlane.PLAIN)[1])
    assert not (tmp_path / "elsewhere").exists()
    assert [path.name for path in where.iterdir()] == [name]


def test_a_link_to_a_file_of_an_export_is_anothers_too(tmp_path: Path) -> None:
    files = exported(DataPlane.PLAIN)[1]
    write(tmp_path / "one", files)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "service.yaml").symlink_to(tmp_path / "one" / "service.yaml")
    with pytest.raises(UsageError, match=r"did not write: service\.yaml"):
        write(tmp_path / "two", files)


@pytest.mark.parametrize("name", ["kustomization.yml", "Kustomization"])
def test_a_kustomization_by_another_name_is_in_the_way(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("resources: []\n", encoding="utf-8")
    with pytest.raises(UsageError, match=f"did not write: {name}"):
        write(tmp_path, exported(DataPlane.PLAIN)[1])
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_last_export_as_it_was(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = exported(DataPlane.ISTIO)[1]
    write(tmp_path, first)
    real = Path.write_text

    def full(path: Path, *arguments: Any, **named: Any) -> int:
        if path.name == "stateful-set.yaml":
            raise OSError(number, "full", str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(NoSpace, match="no space left in"):
        write(tmp_path, exported(DataPlane.PLAIN)[1])
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == first


def test_a_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot write"):
        write(file, exported(DataPlane.PLAIN)[1])


@pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="no kubectl on PATH, and CI installs none: whether kustomize takes an export is seen on a person's machine",
)
def test_kustomize_takes_them_all(tmp_path: Path) -> None:
    made, files = exported(DataPlane.ISTIO_MTLS)
    write(tmp_path, files)
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = [read(text) for text in done.stdout.split("\n---\n")]
    assert sorted(body["kind"] for body in built) == sorted(manifest.body["kind"] for manifest in made)
    by_kind = {manifest.body["kind"]: manifest.body for manifest in made}
    assert all(body == by_kind[body["kind"]] for body in built)


def test_the_verb_writes_and_says_what_is_needed(tmp_path: Path, capsys: Capture) -> None:
    where = tmp_path / "out"
    assert app.main(["export", "--only", "kafka-tls", "-d", str(where), "-n", "mine"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(where / name) for name in exported(DataPlane.KAFKA_TLS)[1]]
    assert "the namespace mine: the Secret broker-tls" in captured.err
    assert "nothing was applied" in captured.err
    assert "Kubernetes 1.27 or newer" in captured.err
    image = read((where / "stateful-set.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]["image"]
    assert re.fullmatch(r"docker\.io/apache/kafka:\d+\.\d+\.\d+", image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "it is one scenario at a time\n  give one with --only: plain, kafka-tls"),
        (
            ["--only", "istio*"],
            "it is one scenario at a time\n  give one with --only: istio, istio-mtls",
        ),
        (["--only", "x*"], "no scenario x*"),
        (["--only", "istoi"], "no scenario istoi (did you mean istio?)"),
        (["--only", "plain", "--memory", "12"], "--memory 12 is not allowed"),
        (["--only", "plain", "--heap", "20Gi"], "must be above its heap (20Gi)"),
        (["--only", "plain", "--heap", "255Mi"], "a heap of 255Mi is too small"),
        (["--only", "plain", "--volume-size", "11Gi"], "a volume of 11Gi is too small"),
        (["--only", "plain", "-n", "default"], "the namespace default is not ours alone"),
        (["--only", "plain", "--kafka", "kafka-0.1"], "no lock 'kafka-0.1'"),
        (
            ["-f", "geography", "--only", "7ms-plain"],
            "with the data plane plain nobody resolves the brokers' names in other clusters",
        ),
    ],
)
def test_what_cannot_be_meant_writes_nothing(options: list[str], said: str, tmp_path: Path, capsys: Capture) -> None:
    where = tmp_path / "out"
    assert app.main(["export", "-d", str(where), *options]) == 2
    assert said in capsys.readouterr().err
    assert not where.exists()


def test_a_pattern_that_leaves_one_scenario_is_enough(tmp_path: Path) -> None:
    assert app.main(["export", "--only", "kafka*", "-d", str(tmp_path)]) == 0
    assert read((tmp_path / "namespace.yaml").read_text())["metadata"]["name"] == "meshmark-kafka-tls"


def test_the_verbs_help_has_the_sizes_that_are_taken() -> None:
    options = get_type_hints(export, include_extras=True)
    for name, size in (
        ("cpus", str(asked.CPUS)),
        ("memory", asked.quantity(asked.MEMORY_BYTES)),
        ("heap", asked.quantity(asked.HEAP_BYTES)),
    ):
        [option] = options[name].__metadata__
        assert option.help.endswith(f" {size}.")
