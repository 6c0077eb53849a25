"""One API server, as the user of one context sees it: objects in, objects out, every failure an error of meshmark's.

Objects are mappings as the API has them, so nothing that a newer server says is lost. What is written is written by
server-side apply, under the field manager `meshmark` and never by force unless asked: the server then tells whose a
field is. Limits: no watch (states are read again and again), no terminal and no standard input in `execute`.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from http.client import responses
from types import MappingProxyType
from typing import Any, BinaryIO

import httpx2
from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError
from lightkube import Client
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.core.generic_client import GenericSyncClient
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource, create_api_info
from lightkube.types import PatchType
from msgspec import MsgspecError
from wsproto.utilities import ProtocolError

from meshmark.backends.kubernetes.kinds import Kind, kind_of, name_of
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.stream import PROTOCOL, Socket, copied, exit_code, stop_reading
from meshmark.errors import ClusterUnreachable, MeshmarkError, NoRights, NotOurs, ObjectRefused, UsageError

FIELD_MANAGER = "meshmark"
TIMEOUT_S = 10.0
"""Of one request."""
PAGE = 200
"""Objects that are asked for at once."""
VALUE = re.compile(r"Invalid value: [\[{].*[\]}]: ")
"""A whole object, in one line, in the midst of a message."""
MISSING = "meshmark/no-such-label"
"""That no object has: a list of them is short."""
APPLIED_STAYS = "What was applied before it stays; `meshmark diff` shows what is still to come."
MANAGER_CONFLICT = "FieldManagerConflict"
OTHER_UID = "Precondition failed: UID"
REVIEW = Kind(
    group="authorization.k8s.io",
    name="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    namespaced=False,
)


class Api:
    """Made by `contexts.connect`. Any method raises ClusterUnreachable, and NoRights where this user may not."""

    def __init__(self, config: SingleConfig) -> None:
        """Raises UsageError where the kubeconfig names certificates or keys that cannot be read, or no server's
        address."""
        self.config = config
        self.context = config.context_name
        self.server = config.cluster.server
        self._by_command = bool(config.user and config.user.exec)
        try:
            timeout = httpx2.Timeout(TIMEOUT_S)
            self._client = Client(config, field_manager=FIELD_MANAGER, timeout=timeout)
            self._web = client_adapter.Client(config, client_adapter.ConnectionParams(timeout=timeout))
        except (ConfigError, OSError, ValueError, ssl.SSLError, httpx2.InvalidURL) as error:
            raise UsageError(
                f"the context {self.context} cannot be used: {error}",
                hint="Its user or cluster in the kubeconfig names files that cannot be read, or no server's address.",
            ) from None

    def get(self, kind: Kind, name: str, namespace: str = "") -> Body | None:
        """None where there is none."""
        try:
            with self._told(f"reading {kind.name.lower()}/{name}"):
                return dict(self._client.get(_resource(kind), name, **_within(kind, namespace)))
        except _Missing:
            return None

    def find(self, kind: Kind, namespace: str, labels: Mapping[str, str] = MappingProxyType({})) -> list[Body]:
        """Those with these labels; none where the cluster does not know the kind."""
        try:
            try:
                return self._list(kind, namespace, labels)
            except _Expired:
                return self._list(kind, namespace, labels)
        except _Missing:
            return []

    def knows(self, kind: Kind, namespace: str) -> bool:
        """Has the cluster that kind? Needs the right to list it."""
        try:
            self._list(kind, namespace, {MISSING: "true"})
        except _Missing:
            return False
        return True

    def _list(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> list[Body]:
        with self._told(f"listing {kind.plural}"):
            found = self._client.list(_resource(kind), namespace=namespace, labels={**labels}, chunk_size=PAGE)
            # A list says its objects' kind once, for all of them.
            return [{"apiVersion": kind.api_version, "kind": kind.name, **each} for each in found]

    def apply(self, body: Body, *, dry_run: bool = False, force: bool = False) -> Body:
        """Server-side; the object as it is, or would be, afterwards. Raises NotOurs with every field that another
        manager has, and ObjectRefused."""
        kind, metadata = kind_of(body), body["metadata"]
        with self._told(f"applying {name_of(body)}"):
            return dict(
                self._client.patch(
                    _resource(kind),
                    metadata["name"],
                    dict(body),
                    patch_type=PatchType.APPLY,
                    force=force,
                    dry_run=dry_run,
                    **_within(kind, metadata.get("namespace", "")),
                )
            )

    def delete(self, kind: Kind, name: str, namespace: str = "", *, grace_s: int | None = None) -> None:
        """Begins it; fine where there is none. A pod ends within `grace_s`, or within its own grace without."""
        with suppress(_Missing), self._told(f"removing {kind.name.lower()}/{name}"):
            self._client.delete(_resource(kind), name, grace_period=grace_s, **_within(kind, namespace))

    def remove_namespace(self, name: str, uid: str) -> None:
        """Begins it, of the namespace with that UID; fine where there is none of the name. Raises NotOurs where it was
        made anew meanwhile: that one has another UID."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        with suppress(_Missing), self._told(f"removing namespace/{name}"):
            answer = self._web.request("DELETE", f"/api/v1/namespaces/{name}", json=options)
            GenericSyncClient.raise_for_status(answer)  # type: ignore[no-untyped-call]  # lightkube

    def evict(self, pod: str, namespace: str, uid: str) -> None:
        """Begins it, of the pod with that UID. Raises ClusterUnreachable while a PodDisruptionBudget says not yet."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        with self._told(f"evicting pod/{pod}"):
            answer = self._web.request("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", json=body)
            GenericSyncClient.raise_for_status(answer)  # type: ignore[no-untyped-call]  # lightkube

    def attach(self, pod: str, namespace: str, containers: Sequence[Body]) -> None:
        """Ephemeral containers, into a pod that runs; they stay in it until its end."""
        body = {"spec": {"ephemeralContainers": [dict(each) for each in containers]}}
        with self._told(f"putting containers into pod/{pod}"):
            answer = self._web.request(
                "PATCH",
                f"/api/v1/namespaces/{namespace}/pods/{pod}/ephemeralcontainers",
                json=body,
                headers={"Content-Type": PatchType.STRATEGIC.value},
                params=httpx2.QueryParams({"fieldManager": FIELD_MANAGER}),
            )
            GenericSyncClient.raise_for_status(answer)  # type: ignore[no-untyped-call]  # lightkube

    def may(self, attributes: Mapping[str, str]) -> bool:
        """May this user do that? By a SelfSubjectAccessReview, whose `resourceAttributes` these are."""
        review = {
            "apiVersion": REVIEW.api_version,
            "kind": REVIEW.name,
            "spec": {"resourceAttributes": dict(attributes)},
        }
        with self._told("asking for this user's rights"):
            return bool(self._client.create(_resource(REVIEW)(review))["status"]["allowed"])

    def execute(
        self, pod: str, namespace: str, container: str, command: Sequence[str], stdout: BinaryIO, stderr: BinaryIO
    ) -> int:
        """Runs it to its end; its exit code. It has no standard input. Raises ObjectRefused where it never began, and
        BrokenPipeError where nobody reads its output any more."""
        doing = f"running a command in pod/{pod}"
        with self.stream(pod, namespace, container, command, stdin=False) as socket, self._told(doing):
            status = copied(socket, stdout, stderr)
        code = exit_code(status)
        if code is None:  # what the container's runtime says, once the connection is there
            raise ObjectRefused(
                f"{doing}: it could not be run: {status.get('message') or 'no reason is given'}",
                hint="Is there such a command in the broker's image?",
            )
        return code

    @contextmanager
    def stream(
        self, pod: str, namespace: str, container: str, command: Sequence[str], *, stdin: bool = True
    ) -> Iterator[Socket]:
        """Runs it as long as the context lives, or it does; spoken to as `stream.py` says. Raises ObjectRefused where
        there is no such pod or container."""
        asked: list[tuple[str, str | int | float | bool | None]]
        asked = [("container", container), *(("command", word) for word in command)]
        asked += [(name, "true") for name in (*(["stdin"] if stdin else []), "stdout", "stderr")]
        with ExitStack() as stack:
            with self._told(f"running a command in pod/{pod}"):
                socket = stack.enter_context(
                    self._web.websocket(
                        f"/api/v1/namespaces/{namespace}/pods/{pod}/exec",
                        subprotocols=[PROTOCOL],
                        params=httpx2.QueryParams(asked),
                    )
                )
            stack.callback(stop_reading, socket)
            yield socket

    def version(self) -> str:
        """Of the API server."""
        with self._told("asking for the version"):
            answer = self._web.get("/version")
            answer.raise_for_status()
            return str(answer.json()["gitVersion"])

    def served(self) -> frozenset[str]:
        """API groups that the server has, alone and with each version: `apps`, `apps/v1`. Everybody may ask."""
        with self._told("asking for the kinds that there are"):
            answer = self._web.get("/apis")
            answer.raise_for_status()
            groups = answer.json()["groups"]
            versions = (version["groupVersion"] for group in groups for version in group["versions"])
            return frozenset((*(group["name"] for group in groups), *versions))

    def log(self, pod: str, namespace: str, container: str, lines: int) -> str:
        """The last lines that a container wrote."""
        with self._told(f"reading the log of pod/{pod}"):
            return "".join(self._client.log(pod, namespace=namespace, container=container, tail_lines=lines))

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """What goes wrong inside, as an error of meshmark's."""
        try:
            yield
        except httpx2.HTTPStatusError as error:
            raise _refusal(doing, self.context, _status(error)) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ClusterUnreachable(
                f"{doing}: the API server {self.server} of the context {self.context} cannot be reached: "
                f"{str(error) or type(error).__name__}",
                hint="Is the cluster up, and is this the right context? What was applied stays; the same command goes "
                "on from there.",
            ) from None
        except WebSocketUpgradeError as error:  # its text is gone with the connection
            code = error.response.status_code
            if code == 403:
                raise Forbidden(
                    f"{doing}: the API server forbids it (403)",
                    hint="docs/how-to/kubernetes.md lists the rights that are needed.",
                ) from None
            status = {"code": code, "message": responses.get(code, ""), "causes": []}
            raise _refusal(doing, self.context, status) from None
        except (HTTPXWSException, ProtocolError) as error:
            raise ClusterUnreachable(
                f"{doing}: the connection broke before the command ended: {str(error) or type(error).__name__}",
                hint="Whether it goes on there, nobody knows; `meshmark status` tells whether the broker does.",
            ) from None
        except BrokenPipeError:  # of our own output: that of a connection is an HTTPError
            raise
        except (ConfigError, OSError) as error:
            raise self._no_credentials(doing, error) from None
        except (KeyError, TypeError, ValueError, MsgspecError) as error:
            if refused := _refused_before(error):
                raise _refusal(doing, self.context, _status(refused)) from None
            if self._by_command:  # whose output lightkube reads in the same call
                raise self._no_credentials(doing, error) from None
            raise ClusterUnreachable(
                f"{doing}: what answers at {self.server} is no API server: {error!r}",
                hint="A proxy, or another service at that address? The kubeconfig has it.",
            ) from None

    def _no_credentials(self, doing: str, error: Exception) -> NoRights:
        return NoRights(
            f"{doing}: the credentials of the context {self.context} cannot be had: {error}",
            hint="The kubeconfig names a command, or a file, that gives them; does it work by itself?",
        )


class Forbidden(NoRights):
    """The server knows this user, who may not do that (403)."""


class _Missing(ObjectRefused):
    """The object, its namespace or its whole kind is not there."""


class _Expired(ClusterUnreachable):
    """A list whose later pages are not to be had any more (410)."""


@cache
def _resource(kind: Kind) -> Any:
    """lightkube's class for objects of a kind, as plain mappings. Not registered there: its own typed ones of the
    core's kinds would be in the way, and they drop what they do not know."""
    base = GenericNamespacedResource if kind.namespaced else GenericGlobalResource
    return type(kind.name, (base,), {"_api_info": create_api_info(kind.group, kind.version, kind.name, kind.plural)})


def _within(kind: Kind, namespace: str) -> dict[str, Any]:
    return {"namespace": namespace} if kind.namespaced else {}


def _refused_before(error: BaseException | None) -> httpx2.HTTPStatusError | None:
    """The refusal in whose answer lightkube did not find what it looked for, as the type of its content."""
    while error is not None and not isinstance(error, httpx2.HTTPStatusError):
        error = error.__context__
    return error


def _status(error: httpx2.HTTPStatusError) -> dict[str, Any]:
    """Of a refusal: code, message, and causes as the API's Status has them; of a proxy's answer, what there is."""
    if isinstance(error, ApiError):
        status = error.status
        causes = (status.details.causes if status.details else None) or []
        return {
            "code": status.code or error.response.status_code,
            "message": status.message or "",
            "causes": [(cause.reason or "", cause.field or "", cause.message or "") for cause in causes],
        }
    return {"code": error.response.status_code, "message": error.response.text[:200].strip(), "causes": []}


def _refusal(doing: str, context: str, status: Mapping[str, Any]) -> MeshmarkError:
    code, message = status["code"], VALUE.sub("", status["message"])
    conflicts = [(field, text) for reason, field, text in status["causes"] if reason == MANAGER_CONFLICT]
    if conflicts:
        return NotOurs(
            f"{doing}: fields of it are managed by others: "
            + "; ".join(f"{field.lstrip('.')} ({text})" for field, text in conflicts),
            hint="Undo that change there (`kubectl get -o yaml --show-managed-fields` shows it), or take the fields "
            "over with --force-conflicts.",
        )
    if code == 409 and OTHER_UID in message:
        return NotOurs(
            f"{doing}: it was removed and made anew since it was looked at", hint="That one was left alone; try again."
        )
    if code == 401:
        return NoRights(
            f"{doing}: the API server does not know the user of the context {context} (401)",
            hint="Sign in again: its token or certificate has expired, or is another cluster's.",
        )
    if code == 403 and " cannot " in message:
        return Forbidden(f"{doing}: {message}", hint="docs/how-to/kubernetes.md lists the rights that are needed.")
    if code == 404:
        return _Missing(
            f"{doing}: it is not there: {message}",
            hint="`kubectl api-resources` lists the kinds that the cluster has.",
        )
    if code in (408, 410, 429) or (code >= 500 and "webhook" not in message):
        return (_Expired if code == 410 else ClusterUnreachable)(
            f"{doing}: the API server answered {code}: {message or 'nothing'}", hint="Try again when it is well."
        )
    return ObjectRefused(f"{doing}: the API server refused it ({code}): {message}", hint=_advice(message))


def _advice(message: str) -> str:
    if "quota" in message:
        return "`kubectl describe quota` shows it; --cpus, --memory and --volume-size take less."
    if "updates to statefulset spec" in message or "field is immutable" in message:  # before, and since 1.37
        return "Volumes and the scenario's name cannot change while it is up: `meshmark down` first."
    if "webhook" in message:
        return "The webhook is the cluster's own; is what serves it well?"
    return APPLIED_STAYS
