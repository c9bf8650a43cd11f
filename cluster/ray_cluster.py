"""Joining a Ray cluster, or starting one on this machine that nobody else can reach."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from allscan.errors import ClusterError, InputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROBE_SECONDS = 5.0
CLIENT_ATTEMPTS = 3
CLIENT_PORT = 10001  # of ray:// addresses without one
PREFIX = "allscan-ray-"
LEAST_STORE = 128 << 20
"""Bytes of an object store beside what is known to be shared; Ray itself asks for 75 MiB."""

# Ray reads this when it is imported. Where it is 0, every listener is on the loopback interface; without it they are on
# all interfaces, whatever address is given.
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

logger = logging.getLogger(__name__)


def private_environment(token_file: Path) -> dict[str, str]:
    """Settings for Ray processes on this machine that nobody else can reach.

    Listeners on the loopback interface, a token for every connection, nothing sent to anybody.
    """
    return {
        LOOPBACK: "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray warns of what a later version will do with a machine without accelerators.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def write_token(path: Path) -> Path:
    """Write a new token that only this user can read."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path


@dataclass(frozen=True)
class Connection:
    """A connection to a Ray cluster."""

    address: str  # for people
    is_private: bool  # started by us, ends with the connection
    is_client: bool  # through ray://


@contextmanager
def connect(
    address: str, *, workers: int | None = None, shared_bytes: int = 0, dashboard: bool = False
) -> Iterator[Connection]:
    """Join a cluster, or start a private one, for as long as the context lasts.

    Parameters
    ----------
    address
        ``"local"`` starts a private cluster on this machine. ``"auto"`` joins the one that ``RAY_ADDRESS`` names, or
        else the one that runs on this machine. ``"HOST:PORT"`` and ``"ray://HOST:PORT"`` join that one.
    workers
        CPUs of a private cluster; None: those that this process may use.
    shared_bytes
        What tasks will share at a time, for the size of a private cluster's object store.
    dashboard
        Whether a private cluster has Ray's dashboard, on a port of 127.0.0.1.

    Raises
    ------
    MissingDependencyError
        Ray is not installed.
    ClusterError
        The cluster cannot be reached or refuses the connection.
    """
    if address == "local":
        with _private_cluster(workers, shared_bytes, dashboard=dashboard) as connection:
            yield connection
        return
    ray = import_ray()
    if address == "auto" and ray.is_initialized():
        # Of the caller, who has joined a cluster and will leave it.
        yield Connection("auto", is_private=False, is_client=ray.util.client.ray.is_connected())
        return
    target = _find(address)
    host, port = _host_and_port(target)
    probe(host, port)
    is_client = target.startswith("ray://")
    if not is_client:
        _check_token(host, port)
    with _environment({LOOPBACK: "0"} if not is_client and _only_loopback(host, port) else {}):
        _init(ray, address=target)
        try:
            yield Connection(target, is_private=False, is_client=is_client)
        finally:
            ray.shutdown()


def import_ray() -> Any:
    """Ray, which is imported only where it is used.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("Ray is not installed", fix='pip install "allscan[ray]"') from error
    return ray


def probe(host: str, port: int) -> None:
    """Make sure that somebody listens: Ray would try for ten minutes and more.

    Raises
    ------
    ClusterError
        Nobody does.
    """
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers: {error}",
            where=f"{host}:{port}",
            fix="check that the cluster is up and that its address is right (`ray status` on its head node)",
        ) from error


def _check_token(host: str, port: int) -> None:
    """Make sure that the cluster accepts this program's token: Ray would try for a while and not say why."""
    import grpc

    token = _token()
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            ask(b"", timeout=PROBE_SECONDS, metadata=[("authorization", f"Bearer {token}")] if token else [])
        except grpc.RpcError as error:
            # Anything else (TLS, another version) is for Ray to deal with.
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise _refused(f"{host}:{port}", error.details()) from error


def _token() -> str | None:
    """The token that Ray would take."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return None
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given
    with suppress(OSError):
        path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path("~/.ray/auth_token").expanduser()
        return Path(path).read_text(encoding="ascii").strip()
    return None


def _find(address: str) -> str:
    """The address that `auto` stands for."""
    if address != "auto":
        return address
    given = os.environ.get("RAY_ADDRESS")
    if given and given != "auto":
        return given
    services: Any = importlib.import_module("ray._private.services")
    try:
        return str(services.canonicalize_bootstrap_address("auto"))
    except ConnectionError as error:
        raise ClusterError(
            "no Ray cluster runs on this machine, and RAY_ADDRESS does not name one",
            fix="start one (`ray start --head`), give its address, or use `address: local`",
        ) from error


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlsplit(address if "://" in address else f"gcs://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if port is None and parts.scheme == "ray":
        port = CLIENT_PORT
    if parts.scheme not in ("gcs", "ray") or not host or port is None:
        raise InputError(f"{address!r} is no address of a Ray cluster", fix="write HOST:PORT or ray://HOST:PORT")
    return host, port


def _only_loopback(host: str, port: int) -> bool:
    """Whether a cluster of this machine listens on the loopback interface only.

    Ray takes a loopback address for this machine's own, under which such a cluster does not listen.
    """
    if host != "localhost" and not host.startswith("127."):
        return False
    services: Any = importlib.import_module("ray._private.services")
    with _environment({LOOPBACK: "1"}):
        own = services.get_node_ip_address()
    try:
        socket.create_connection((own, port), timeout=PROBE_SECONDS).close()
    except OSError:
        return True
    return False


@contextmanager
def _private_cluster(workers: int | None, shared_bytes: int, *, dashboard: bool) -> Iterator[Connection]:
    _sweep()
    # Ray's own place for this, /tmp/ray, is shared by all users and names the cluster that `auto` finds.
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))  # sockets need short paths
    try:
        with _environment(private_environment(write_token(folder / "token"))):
            ray = import_ray()
            if ray.is_initialized():
                raise InputError(
                    "this program is connected to a Ray cluster already",
                    fix="use it with `address: auto`, or call ray.shutdown() first",
                )
            _init(
                ray,
                address="local",
                num_cpus=workers,
                object_store_memory=_store_bytes(shared_bytes),
                include_dashboard=dashboard,
                _temp_dir=str(folder / "ray"),  # which Ray opens to everybody; nobody else gets through `folder`
            )
            try:
                yield Connection("local", is_private=True, is_client=False)
            finally:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _store_bytes(shared_bytes: int) -> int:
    """Two of what is shared at a time: workers hold the last while they take the next."""
    import psutil

    half = int(psutil.virtual_memory().total) // 2
    return min(2 * shared_bytes + LEAST_STORE, max(LEAST_STORE, half))


def _init(ray: Any, **settings: Any) -> None:
    _forget_token()
    try:
        _init_patiently(ray, settings)
    except ray.exceptions.AuthenticationError as error:
        raise _refused(settings["address"], str(error)) from error
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        if "token" in str(error).lower() or "auth" in str(error).lower():
            raise _refused(settings["address"], str(error)) from error
        raise ClusterError(
            f"the Ray cluster cannot be joined: {str(error).splitlines()[0]}",
            where=settings["address"],
            fix="Python and Ray must be of the cluster's versions, and its ports must be open to this machine",
        ) from error


def _init_patiently(ray: Any, settings: dict[str, Any]) -> None:
    for left in reversed(range(CLIENT_ATTEMPTS)):
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
        except Exception as error:
            # Ray would take what it has of the connection for the connection.
            with suppress(Exception):
                ray.shutdown()
            # The head starts a program for each client, which may take longer than it waits.
            if not left or not isinstance(error, ConnectionAbortedError):
                raise
        else:
            return


def _refused(address: str, why: str) -> ClusterError:
    return ClusterError(
        f"the Ray cluster refuses the connection: {why.splitlines()[0]}",
        where=address,
        fix="give its token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE, where FILE holds the cluster's token",
    )


def _forget_token() -> None:
    """Have Ray read the settings of authentication again, which it keeps."""
    with suppress(ImportError, AttributeError):
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    _follow_environment()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _follow_environment()


def _follow_environment() -> None:
    """Have Ray, if it is imported, take notice of settings that it reads only then."""
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None:
        on_linux = sys.platform.startswith("linux")
        constants.ENABLE_RAY_CLUSTER = os.environ.get(LOOPBACK, str(on_linux)) in ("1", "True")  # type: ignore[attr-defined]


def _sweep() -> None:
    """Remove what private clusters of killed programs left behind."""
    for folder in Path("/tmp").glob(f"{PREFIX}*"):  # noqa: S108
        number = folder.name.removeprefix(PREFIX).split("-")[0]
        if number.isdigit() and folder.stat().st_uid == os.getuid() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(folder, ignore_errors=True)
