"""Clients of object storage: one for each bucket and process, with credentials of the environment."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.errors import InputError, MissingDependencyError
from allscan.storage.places import checked_endpoint, is_loopback

if TYPE_CHECKING:
    from allscan.storage.places import ObjectPlace, StorageOptions

CONNECT_SECONDS = 10.0
STALL_SECONDS = 30.0
"""A connection on which nothing comes for so long is given up, and the request made again."""
LONGEST_SECONDS = 900.0
"""A request of a large object over a slow line may take so long while bytes flow."""

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}

_clients: dict[tuple[int, str, str, StorageOptions], Any] = {}
_lock = threading.Lock()


def client(place: ObjectPlace, *, prefix: str | None = None) -> Any:
    """The client of a place's bucket (``obstore.store.ObjectStore``); with ``prefix``, one of its own below that.

    Raises
    ------
    MissingDependencyError
        obstore is not installed.
    InputError
        The options contradict each other or the environment.
    """
    if prefix is not None:
        return _open(place.scheme, place.bucket, place.options, prefix)
    # By process: a client holds threads, which a forked child does not have.
    known = (os.getpid(), place.scheme, place.bucket, place.options)
    with _lock:
        if known not in _clients:
            _clients[known] = _open(place.scheme, place.bucket, place.options, None)
        return _clients[known]


def _open(scheme: str, bucket: str, options: StorageOptions, prefix: str | None) -> Any:
    try:
        from obstore import store
    except ImportError as error:
        raise MissingDependencyError(
            f"{scheme}:// needs the package obstore, which is not installed",
            where=f"{scheme}://{bucket}",
            fix="pip install 'allscan[cloud]'",
        ) from error
    headers: dict[str, str] = {}
    config: dict[str, Any] = {}
    settings: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, options.retry_seconds)),
        "read_timeout": timedelta(seconds=min(STALL_SECONDS, options.retry_seconds / 4)),
        "timeout": timedelta(seconds=LONGEST_SECONDS),
        "user_agent": "allscan",
    }
    endpoint = options.endpoint or next(filter(None, map(os.environ.get, _ENDPOINTS[scheme])), None)
    if endpoint is not None:
        checked_endpoint(endpoint)
        if endpoint.startswith("http:"):
            _refuse_open_tokens(scheme, endpoint, options)
            settings["allow_http"] = True
        config["base_url" if scheme == "gs" else "endpoint"] = endpoint
    if options.anonymous:
        config["skip_signature"] = True
    if scheme == "s3":
        config |= _s3_settings(options)
    elif scheme == "gs":
        project = options.requester_pays or os.environ.get("GOOGLE_CLOUD_QUOTA_PROJECT")
        if project is True:
            raise InputError(
                "on Google Cloud a project pays, and none is named",
                where="requester_pays",
                fix="write its name: requester_pays: PROJECT",
            )
        if project:
            headers["x-goog-user-project"] = str(project)
    if headers:
        settings["default_headers"] = headers
    retries = {
        "max_retries": 1000,  # the time is the bound
        "retry_timeout": timedelta(seconds=options.retry_seconds),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=min(15.0, max(0.2, options.retry_seconds / 4))),
            "base": 2,
        },
    }
    kind = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}[scheme]
    return kind(bucket, prefix=prefix, config=config, client_options=settings, retry_config=retries)


def _refuse_open_tokens(scheme: str, endpoint: str, options: StorageOptions) -> None:
    """S3 signs what it sends; the others send a token along, which must not be read on the way."""
    if scheme != "s3" and not options.anonymous and not is_loopback(endpoint):
        raise InputError(
            "credentials would be sent without encryption", where=endpoint, fix="give an endpoint of https://"
        )


def _s3_settings(options: StorageOptions) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if options.requester_pays:
        config["request_payer"] = True
    profile = _aws_profile()
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = region or profile.get("region")
    if region:
        config["region"] = region
    from_elsewhere = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
    if not options.anonymous and not any(os.environ.get(name) for name in from_elsewhere):
        names = {
            "aws_access_key_id": "access_key_id",
            "aws_secret_access_key": "secret_access_key",
            "aws_session_token": "session_token",
        }
        config |= {ours: profile[theirs] for theirs, ours in names.items() if theirs in profile}
    return config


def _aws_profile() -> dict[str, str]:
    """Settings of the user's profile in the files that AWS's own programs keep."""
    import configparser

    name = os.environ.get("AWS_PROFILE") or "default"
    home = Path("~/.aws").expanduser()
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(os.environ.get(variable) or home / file)
        except (configparser.Error, OSError, UnicodeDecodeError):
            # A file of another program that cannot be read is as good as none; its content is not for messages.
            continue
        if parser.has_section(section):
            found |= dict(parser.items(section))
    return found
