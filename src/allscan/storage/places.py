"""Where things stand: a path, or a place in object storage, parsed, checked, and free of secrets.

An :class:`ObjectPlace` has the methods of ``pathlib.Path`` that allscan uses, so that most code need not ask which of
the two it was given. It opens its client when it is first asked for something, and pickles without client or
credentials.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMES = {"s3": "S3", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
"""Kinds of object storage, by the scheme of a URL."""

RETRY_SECONDS = 180.0

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}[A-Za-z0-9]")
_CREDENTIAL_KEY = re.compile(
    r"secret|password|passwd|token|credential|signature|sas_?key|(access|account|api|private)_?key|key_?id|bearer",
    re.IGNORECASE,
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FORMS = "s3://BUCKET/KEY, gs://BUCKET/KEY or az://CONTAINER/KEY"
_FROM_THE_ENVIRONMENT = (
    "credentials come from the environment, the machine, or the provider's own files; take this one out, and revoke it "
    "if others have seen it"
)


@dataclass(frozen=True)
class StorageOptions:
    """How object storage is reached. Holds no credentials."""

    requester_pays: str | bool = False  # the project that pays (Google); True: this account pays (S3)
    endpoint: str | None = None  # None: the provider's own, or the environment's
    region: str | None = None
    anonymous: bool = False
    retry_seconds: float = RETRY_SECONDS  # how long a request is tried again


@dataclass(frozen=True)
class ObjectPlace:
    """An object, or all objects below a prefix, in a bucket."""

    scheme: str
    bucket: str
    key: str  # without slashes at its ends; empty: the bucket itself
    options: StorageOptions = field(default=StorageOptions(), repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def __truediv__(self, below: str) -> ObjectPlace:
        _check_key(below, f"{self}/…")
        return replace(self, key=f"{self.key}/{below}" if self.key else below)

    def joinpath(self, *below: str) -> ObjectPlace:
        """A place below this one."""
        return self / "/".join(below)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """What follows the last dot of the name, with it."""
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return Path(self.name).stem

    @property
    def parent(self) -> ObjectPlace:
        """The prefix that this place is in."""
        return replace(self, key=self.key.rpartition("/")[0])

    def with_name(self, name: str) -> ObjectPlace:
        """The place of this name beside this one."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> ObjectPlace:
        """The place of this stem and another suffix."""
        return self.with_name(self.stem + suffix)

    def absolute(self) -> ObjectPlace:
        """Itself."""
        return self

    def resolve(self) -> ObjectPlace:
        """Itself."""
        return self

    def exists(self) -> bool:
        """Whether there is an object here, or any below."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is an object here."""
        from allscan.storage import objects

        return bool(self.key) and objects.find(self) is not None

    def is_dir(self) -> bool:
        """Whether there is any object below."""
        from allscan.storage import objects

        return objects.has_any(self)

    def read_bytes(self) -> bytes:
        """The whole object.

        Raises
        ------
        FileNotFoundError
            There is none.
        StorageError
            It cannot be read.
        """
        from allscan.storage import objects

        return objects.get(self)

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> int:
        """Put an object: whole, or not at all.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        from allscan.storage import objects

        objects.put(self, content)
        return len(content)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        from allscan.storage import objects

        if not missing_ok and not self.is_file():
            raise objects.missing(self)
        objects.delete([self])

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: object storage has no folders."""

    def iterdir(self) -> Iterator[ObjectPlace]:
        """Objects and prefixes directly below."""
        from allscan.storage import objects

        return (self / name for name in objects.names_below(self))

    def glob(self, pattern: str) -> Iterator[ObjectPlace]:
        """Objects and prefixes directly below whose names match."""
        assert "/" not in pattern, "one level only"
        return (place for place in self.iterdir() if fnmatchcase(place.name, pattern))


Place: TypeAlias = Path | ObjectPlace


def place_of(text: str | Path | ObjectPlace, options: StorageOptions | None = None) -> Place:
    """A path, or a place in object storage, from what a user gives.

    Raises
    ------
    InputError
        The text is a URL of another kind, holds a credential, or an impossible name.
    """
    if isinstance(text, ObjectPlace):
        return text
    if isinstance(text, Path):
        if re.fullmatch(r"[a-z][a-z0-9]+:", text.parts[0] if text.parts else ""):
            raise InputError("a URL is no path", where=str(text), fix="give it as text, not as pathlib.Path")
        return text
    return parse_url(text, options) if is_url(text) else Path(text)


def local_path(text: str | Path | ObjectPlace, why: str) -> Path:
    """A path on this machine, where nothing else will do.

    Raises
    ------
    InputError
        It is a URL; ``why`` is what to do instead.
    """
    place = place_of(text)
    if isinstance(place, ObjectPlace):
        raise InputError("a path on this machine is needed here, not a URL", where=str(place), fix=why)
    return place


def is_url(text: str) -> bool:
    """Whether a text is a URL and not a path."""
    return _URL.fullmatch(text) is not None


def parse_url(text: str, options: StorageOptions | None = None) -> ObjectPlace:
    """A place in object storage, from its URL.

    Raises
    ------
    InputError
        As for :func:`place_of`. A URL that may hold a credential is not repeated in the message.
    """
    match = _URL.fullmatch(text)
    assert match is not None
    scheme, rest = match[1].lower(), match[2]
    bucket, _, key = rest.partition("/")
    if scheme not in SCHEMES:
        raise InputError(
            f"{scheme}:// is not a kind of storage that allscan reads or writes",
            where=f"{scheme}://…",
            fix=f"give a path, or {_FORMS}",
        )
    if "@" in bucket or ":" in bucket:
        raise InputError(
            "the URL holds a user name, password or key (it is not repeated here)",
            where=f"{scheme}://…",
            fix=_FROM_THE_ENVIRONMENT,
        )
    if "?" in rest or "#" in rest:
        raise InputError(
            "the URL has a query, which may hold a signature or token (it is not repeated here)",
            where=f"{scheme}://{bucket.partition('?')[0].partition('#')[0]}/…",
            fix=f"write {scheme}://{{bucket}}/{{key}} alone; {_FROM_THE_ENVIRONMENT}",
        )
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"{bucket!r} is not the name of a bucket", where=f"{scheme}://…", fix=f"write {_FORMS}")
    key = key.rstrip("/")
    if key:
        _check_key(key, f"{scheme}://{bucket}/…")
    return ObjectPlace(scheme, bucket, key, options or StorageOptions())


def _check_key(key: str, where: str) -> None:
    parts = key.split("/")
    if not key.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"{key!r} is not a key that allscan uses: it has a part that is empty, '.' or '..', or a control character",
            where=where,
            fix="write the key as it is in the bucket, without leading or doubled slashes",
        )


def checked_endpoint(endpoint: str) -> str:
    """An endpoint, if it is the address of a server and nothing else.

    Raises
    ------
    InputError
        It is not, or holds a credential.
    """
    parts = urlsplit(endpoint)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError("the endpoint holds a credential or a query (not repeated here)", fix=_FROM_THE_ENVIRONMENT)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{endpoint!r} is not the address of a server", fix="write https://HOST or https://HOST:PORT")
    return endpoint


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint is on this machine."""
    return urlsplit(endpoint).hostname in _LOOPBACK


def looks_like_credential(key: str) -> bool:
    """Whether a key of a job file is named as a credential is."""
    return _CREDENTIAL_KEY.search(key) is not None


CREDENTIALS_ELSEWHERE = _FROM_THE_ENVIRONMENT
"""What to say to somebody who wrote a credential down."""
