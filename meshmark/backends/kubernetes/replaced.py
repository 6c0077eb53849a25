"""A pod that goes as it does when its node is emptied, and the one that comes in its place.

By the Eviction API, which asks the PodDisruptionBudget: as long as that says not yet, it is asked again.
"""

from __future__ import annotations

import time

from meshmark.backends.kubernetes import state
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.kinds import POD
from meshmark.backends.kubernetes.manifest import MANAGED, OWNER, Body
from meshmark.errors import ClusterUnreachable, ComponentFailed

TIMEOUT_S = 300.0
"""For the end of one and the start of the other: the first may take its grace period."""
POLL_S = 0.5


def replaced(api: Api, namespace: str, pod: Body, timeout_s: float = TIMEOUT_S) -> Body:
    """The other one, once it is ready. Raises ComponentFailed, with its events, when it is not in time."""
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    deadline = time.monotonic() + timeout_s
    asked, last = False, "it was not allowed to go"
    while time.monotonic() < deadline:
        try:
            now = {each["metadata"]["name"]: each for each in api.find(POD, namespace, {MANAGED: OWNER})}.get(name)
            if not asked and now and now["metadata"]["uid"] == uid:  # an answer that was lost may have been yes
                api.evict(name, namespace, uid)
                asked = True
        except ClusterUnreachable as error:  # a budget's refusal (429) as well
            last = error.message
        else:
            if now is None or now["metadata"]["uid"] == uid:
                last = "the one before is still there" if now else "there is none"
            elif not (last := state.problem_of(now)):
                return now
        time.sleep(POLL_S)
    raise ComponentFailed(
        f"{name} is not back {timeout_s:g} s after its pod was to go: {last}",
        component=name,
        log_tail=state.events_of(api, namespace, [name]),
    )
