"""Prometheus' text format, with what a label's value may hold."""

from __future__ import annotations

import pytest

from meshmark.probes.prometheus import Sample, samples


def test_samples_with_these_names_and_nothing_else() -> None:
    text = '# HELP a_total what\n# TYPE a_total counter\na_total 1\n\nb_total{x="y"} 2\na_total_more 3\n# EOF\n'
    assert list(samples(text, {"a_total"})) == [Sample("a_total", {}, 1.0)]
    assert list(samples(text, {"b_total"})) == [Sample("b_total", {"x": "y"}, 2.0)]


@pytest.mark.parametrize(
    ("line", "labels", "value", "at"),
    [
        ('m{a="1",b="2"} 3', {"a": "1", "b": "2"}, 3.0, None),
        ('m{a="1", b="2",} 3.5 1700000000000', {"a": "1", "b": "2"}, 3.5, 1.7e9),
        (
            r'm{a="quote \" comma , brace } and \\ line\nend"} 1e3',
            {"a": 'quote " comma , brace } and \\ line\nend'},
            1e3,
            None,
        ),
        ("m{} 4", {}, 4.0, None),
        ('m{a=""} 5 # {trace_id="x"} 1 2', {"a": ""}, 5.0, None),
    ],
)
def test_labels_values_and_times(line: str, labels: dict[str, str], value: float, at: float | None) -> None:
    assert list(samples(line, {"m"})) == [Sample("m", labels, value, at)]


@pytest.mark.parametrize("line", ["<html>", "m", "m{a=1} 2", 'm{a="1} 2', "m two"])
def test_what_is_no_such_page_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"not a line of Prometheus' text format|could not convert"):
        list(samples(line, {"m"}))
