"""What is written: YAML that reads back the same however it is read, the same each time, beside nothing of others."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from meshmark import planfile
from meshmark.backends.kubernetes import Manifest, manifests, target, texts, write
from meshmark.cli import app
from meshmark.errors import UsageError
from meshmark.plan import DataPlane

Capture = pytest.CaptureFixture[str]


def read(text: str, version: tuple[int, int] = (1, 2)) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml.load(text)


def exported(data_plane: DataPlane) -> tuple[tuple[Manifest, ...], dict[str, str]]:
    plan = planfile.builtin("banzai-2019")
    scenario = plan.scenario(data_plane)
    made = manifests(plan, scenario, target(plan, scenario, kafka_version="4.4.0"))
    return made, texts(made)


@pytest.mark.parametrize("version", [(1, 1), (1, 2)])
@pytest.mark.parametrize("data_plane", DataPlane)
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
    for data_plane in DataPlane:
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


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text("mine: true\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"did not write: service\.yaml"):
        write(tmp_path, exported(DataPlane.PLAIN)[1])
    assert [path.name for path in tmp_path.iterdir()] == ["service.yaml"]


def test_a_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot write"):
        write(file, exported(DataPlane.PLAIN)[1])


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is a person's own")
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
    image = read((where / "stateful-set.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]["image"]
    assert re.fullmatch(r"docker\.io/apache/kafka:\d+\.\d+\.\d+", image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "one scenario is exported at a time\n  give one with --only: plain, kafka-tls"),
        (["--only", "istio*"], "one scenario is exported at a time"),
        (["--only", "istoi"], "no scenario istoi (did you mean istio?)"),
        (["--only", "plain", "--memory", "12"], "--memory 12 is not allowed"),
        (["--only", "plain", "--heap", "20Gi"], "must be above its heap (20Gi)"),
        (["--only", "plain", "-n", "default"], "the namespace default is not ours alone"),
        (["--only", "plain", "--kafka", "kafka-0.1"], "no lock 'kafka-0.1'"),
        (["-f", "geography", "--only", "7ms-plain"], "cannot be exported: a topology"),
    ],
)
def test_what_cannot_be_meant_writes_nothing(options: list[str], said: str, tmp_path: Path, capsys: Capture) -> None:
    where = tmp_path / "out"
    assert app.main(["export", "-d", str(where), *options]) == 2
    assert said in capsys.readouterr().err
    assert not where.exists()
