"""A page of metrics as ztunnel's source of August 2026 (Istio 1.31) writes it: written by us."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmark.probes.istio_tcp import Flow, Passed, flows, grown, summed, version

PAGE = (Path(__file__).parent / "texts" / "ztunnel-metrics.txt").read_text(encoding="utf-8")
OURS = "meshmark-ambient"
SENT = Flow(reporter="source", source="client", destination="broker", encrypted=True)
TAKEN = Flow(reporter="destination", source="client", destination="broker", encrypted=True)
STRANGER = Flow(reporter="destination", source="stranger", destination="broker", encrypted=False)


def test_what_passed_is_told_by_who_sent_it_to_whom_and_who_saw_it() -> None:
    found = flows(PAGE, OURS)
    assert found[SENT] == Passed(opened=7, received_bytes=3000, sent_bytes=1500)
    assert found[TAKEN] == Passed(opened=7, received_bytes=3000, sent_bytes=1500)
    assert found[STRANGER] == Passed(opened=2)


def test_workloads_of_other_namespaces_are_nobody_here() -> None:
    found = flows(PAGE, OURS)
    assert {flow.destination for flow in found} == {"broker"}
    assert Flow(reporter="destination", source="", destination="broker", encrypted=True) in found
    assert flows(PAGE, "elsewhere").keys() != found.keys()
    assert flows(PAGE, "nowhere") == {}


def test_several_nodes_are_added_and_growth_is_of_each_flow() -> None:
    both = summed([flows(PAGE, OURS), {SENT: Passed(opened=1)}])
    assert both[SENT].opened == 8
    more = grown(flows(PAGE, OURS), both)
    assert {flow: passed for flow, passed in more.items() if passed != Passed()} == {SENT: Passed(opened=1)}
    assert grown({}, {TAKEN: Passed(opened=2)}) == {TAKEN: Passed(opened=2)}


@pytest.mark.parametrize("after", [{SENT: Passed(opened=1)}, {}])
def test_a_proxy_that_began_anew_is_told(after: dict[Flow, Passed]) -> None:
    with pytest.raises(ValueError, match="started anew"):
        grown({SENT: Passed(opened=2)}, after)


def test_istio_s_version_is_the_proxys_own_word() -> None:
    assert version(PAGE) == "1.31.0"
    with pytest.raises(ValueError, match="no istio_build with a tag"):
        version("")


def test_a_real_ztunnels_page_is_read() -> None:
    """Of one that was built from its source of 20 August 2026 and told of one workload, which then asked itself for
    466 bytes, by 27; it has no version, since none was given to its build."""
    page = (Path(__file__).parent / "texts" / "ztunnel-itself.txt").read_text(encoding="utf-8")
    passed = Passed(opened=1, received_bytes=27, sent_bytes=466)
    ends = [Flow(reporter, "broker", "broker", encrypted=True) for reporter in ("source", "destination")]
    assert flows(page, OURS) == dict.fromkeys(ends, passed)
    assert version(page) == "unknown"
