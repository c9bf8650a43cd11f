"""Processes that drive work from within a Ray cluster: started, looked at and stopped through its job server."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from allscan.cluster.ray_cluster import probe
from allscan.errors import ClusterError, JobError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_PORT = 8265

_ADDRESS_VARIABLES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")


@dataclass(frozen=True)
class ClusterJob:
    """What a cluster says of a process that it was given."""

    status: str  # pending, running, stopped, succeeded, failed; gone where the cluster does not know it
    message: str

    @property
    def is_over(self) -> bool:
        """Whether the process has ended, or will never begin."""
        return self.status not in ("pending", "running")


class ClusterJobs:
    """The job server of a Ray cluster.

    Parameters
    ----------
    address
        ``http://HOST:PORT`` or ``https://…`` of its dashboard. The token of the cluster comes from the environment
        (``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH``) or from Ray's own file, never from an argument.

    Raises
    ------
    JobError
        That is no address.
    MissingDependencyError
        Ray is not installed.
    ClusterError
        Nobody answers there, or the token is refused.
    """

    def __init__(self, address: str) -> None:
        self.address = checked_address(address)
        parts = urlsplit(self.address)
        probe(parts.hostname or "", parts.port or 443)
        try:
            # Ray's client takes these where they are installed.
            import aiohttp  # noqa: F401
            import requests  # noqa: F401
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise MissingDependencyError(
                "Ray is not installed here with what it takes to talk to a cluster",
                fix='pip install "allscan[ray]"',
            ) from error
        headers = _token_header()
        # Ray takes these rather than the address that it is given.
        hidden = {name: os.environ.pop(name) for name in _ADDRESS_VARIABLES if name in os.environ}
        try:
            with self._asking():
                self._client: Any = JobSubmissionClient(self.address, headers=headers)
        finally:
            os.environ.update(hidden)

    def start(self, entrypoint: str, submission: str) -> None:
        """Start a process on the cluster, once.

        Parameters
        ----------
        entrypoint
            The command, for a shell there.
        submission
            Its id, new to the cluster.
        """
        with self._asking():
            self._client.submit_job(entrypoint=entrypoint, submission_id=submission)

    def look(self, submission: str) -> ClusterJob:
        """What the cluster says of a process."""
        try:
            with self._asking():
                info = self._client.get_job_info(submission)
        except _UnknownJobError:
            return ClusterJob("gone", "the cluster does not know it: it has been started anew since")
        return ClusterJob(str(info.status.value).lower(), _first_line(info.message or ""))

    def stop(self, submission: str) -> None:
        """Have a process stopped: by SIGTERM, and by SIGKILL if it has not ended some seconds later."""
        try:
            with self._asking():
                self._client.stop_job(submission)
        except _UnknownJobError:
            pass  # it is as good as stopped

    def output(self, submission: str) -> str:
        """What a process wrote to its standard output and error so far."""
        try:
            with self._asking():
                return str(self._client.get_job_logs(submission))
        except _UnknownJobError:
            return ""

    @contextmanager
    def _asking(self) -> Iterator[None]:
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise ClusterError(
                "the cluster refuses the token, or none was found",
                where=self.address,
                fix="set RAY_AUTH_TOKEN_PATH to the file that holds the token of this cluster",
            ) from None
        except (ConnectionError, requests.RequestException) as error:
            raise ClusterError(
                "the job server of the cluster does not answer",
                where=self.address,
                fix="check that the cluster runs, and the tunnel or port-forward to it",
            ) from error
        except RuntimeError as error:
            # What the server says otherwise comes as this, with the status in the words.
            if "status code 404" in str(error):
                raise _UnknownJobError from None
            raise ClusterError(f"the cluster refuses: {_first_line(str(error))}", where=self.address) from None


class _UnknownJobError(Exception):
    """The cluster has no job of this id."""


def checked_address(address: str) -> str:
    """The address of a job server as it is stored and shown.

    Raises
    ------
    JobError
        It is not one, or holds a password.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if "@" in parts.netloc or parts.query:
        raise JobError(
            "the address of the cluster holds a password or a token",
            fix="leave it out, and set RAY_AUTH_TOKEN_PATH to a file with the token",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise JobError(
            f"{address!r} is not the address of a job server",
            fix=f"give that of the cluster's dashboard, e.g. http://127.0.0.1:{DEFAULT_PORT} "
            "(for the executor of a run, `--address` takes another one)",
        )
    return (
        f"{parts.scheme}://{parts.netloc}" if port else f"{parts.scheme}://{parts.netloc}{_default_port(parts.scheme)}"
    )


def _default_port(scheme: str) -> str:
    return "" if scheme == "https" else f":{DEFAULT_PORT}"


def _token_header() -> dict[str, str]:
    token = os.environ.get("RAY_AUTH_TOKEN")
    if not token:
        named = os.environ.get("RAY_AUTH_TOKEN_PATH")
        file = Path(named) if named else Path.home() / ".ray" / "auth_token"
        try:
            token = file.read_text(encoding="utf-8")
        except OSError as error:
            if named:
                raise ClusterError(
                    f"the token of the cluster cannot be read: {error.strerror}",
                    where="RAY_AUTH_TOKEN_PATH",
                    fix="let it name a file that you can read",
                ) from None
            return {}
    return {"Authorization": f"Bearer {token.strip()}"}


def _first_line(text: str) -> str:
    line = next((line for line in re.split(r"[\r\n]+", text.strip()) if line.strip()), "")
    return line if len(line) <= 300 else f"{line[:299]}…"
