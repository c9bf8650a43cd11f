"""Requests to object storage, and what their failures mean.

The words of a store's error may hold keys, tokens and signed requests. Nothing of them is passed on but the status and
the error's code, and the errors raised here have no cause that a traceback would print.
"""

from __future__ import annotations

import errno
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from allscan.errors import AllscanError, OutputError, StorageError
from allscan.storage.clients import client
from allscan.storage.places import SCHEMES, ObjectPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

R = TypeVar("R")

ONE_PUT_BYTES = 256 << 20
"""Objects up to this size are put by one request; larger ones in parts."""
DELETED_TOGETHER = LISTED_TOGETHER = 1000

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_BROKEN = re.compile(r"body error|IncompleteBody|Interrupted|error decoding response|NoContentRange")
_METADATA = re.compile(r"169\.254\.169\.254|/latest/(api/token|meta-data)|computeMetadata|metadata\.google")
_AGAIN = "when the storage answers again, give the same command: finished work is kept"


class ObjectChangedError(Exception):
    """An object is not the one that was seen before."""


def missing(place: ObjectPlace) -> FileNotFoundError:
    """What a file system would raise."""
    return FileNotFoundError(errno.ENOENT, "there is no such object", str(place))


@contextmanager
def told(place: ObjectPlace, *, writing: bool = False) -> Iterator[None]:
    """Turn a client's errors into the system's, or into what, where, and what to do."""
    from obstore import exceptions

    try:
        yield
    except AllscanError:
        raise
    except (exceptions.BaseError, FileNotFoundError, ValueError) as error:
        raise _meaning(error, place, writing, exceptions) from None


def _meaning(error: Exception, place: ObjectPlace, writing: bool, exceptions: Any) -> Exception:
    text = str(error)
    status, code = (match[1] if (match := pattern.search(text)) else "" for pattern in (_STATUS, _CODE))
    kind, where = SCHEMES[place.scheme], str(place)
    refused = OutputError if writing else StorageError
    if code == "NoSuchBucket" or "ContainerNotFound" in text or (writing and isinstance(error, FileNotFoundError)):
        fix = "check its name, or make it: allscan makes no buckets"
        return refused(f"there is no bucket {place.bucket!r}", where=where, fix=fix)
    if isinstance(error, FileNotFoundError):
        return missing(place)
    if isinstance(error, exceptions.AlreadyExistsError):
        return FileExistsError(errno.EEXIST, "the object is there already", where)
    if isinstance(error, exceptions.PreconditionError):
        return ObjectChangedError(where)
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        named = ", ".join(filter(None, (status, code)))
        return refused(
            f"{kind} refuses to {'write' if writing else 'read'} this ({named or 'access denied'})",
            where=where,
            fix="check that the credentials of this environment are valid and may do so; a bucket whose requester "
            "pays needs `requester_pays`, one of another region `region`, a public one `anonymous` "
            "(under `runtime.storage` of the job file)",
        )
    if _METADATA.search(text):
        return refused(
            f"there are no credentials for {kind}",
            where=where,
            fix="log in, or set the provider's environment variables; public data are read with `anonymous: true` "
            "under `runtime.storage` of the job file",
        )
    if "redirect" in text or status in ("301", "307", "308"):
        fix = "name its region: AWS_REGION, or `region` under `runtime.storage` of the job file"
        return refused(f"the bucket {place.bucket!r} is in another region", where=where, fix=fix)
    if status == "416":
        return _BeyondEndError()
    if "non-partial response" in text:
        return _NoRangeError()
    seconds = place.options.retry_seconds
    if status.startswith("5") or status == "429":
        what = f"{kind} answered with {status} for {seconds:g} s, whatever was tried"
        return refused(what, where=where, fix=_AGAIN)
    if status:
        named = ", ".join(filter(None, (status, code)))
        fix = "check the address, the region and the rights"
        return refused(f"{kind} refuses the request ({named})", where=where, fix=fix)
    what = f"{kind} could not be reached for {seconds:g} s, or its answers broke off"
    fix = f"check the network and the endpoint; {_AGAIN}"
    return (_BrokenOffError if _BROKEN.search(text) else refused)(what, where=where, fix=fix)


def _request(place: ObjectPlace, call: Callable[[], R], *, writing: bool = False) -> R:
    """Do what is a request or some; again where an answer breaks off, which the client itself does not always do."""
    deadline = time.monotonic() + place.options.retry_seconds
    pause = 0.1
    while True:
        try:
            with told(place, writing=writing):
                return call()
        except _BrokenOffError as error:
            if time.monotonic() + pause > deadline:
                if writing:
                    raise OutputError(error.what, where=error.where, fix=error.fix) from None
                raise
        time.sleep(pause)
        pause = min(2 * pause, 15.0)


class _BrokenOffError(StorageError):
    """An answer ended before its end."""


class _BeyondEndError(Exception):
    """A range begins after the end of an object."""


class _NoRangeError(Exception):
    """A server sends the whole of an object instead of a range: some do when it is empty."""


def get(place: ObjectPlace) -> bytes:
    """The whole of an object.

    Raises
    ------
    FileNotFoundError
        There is none.
    StorageError
        It cannot be read.
    """
    return _request(place, lambda: bytes(client(place).get(place.key).bytes()))


def get_tagged(place: ObjectPlace) -> tuple[bytes, dict[str, Any]]:
    """An object, and what :func:`replace_if_same` needs to know it by."""

    def read() -> tuple[bytes, dict[str, Any]]:
        answer = client(place).get(place.key)
        meta = answer.meta
        return bytes(answer.bytes()), {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}

    return _request(place, read)


def get_range(place: ObjectPlace, start: int, size: int, tag: str | None = None) -> bytes:
    """Bytes of an object; fewer where it ends before.

    Parameters
    ----------
    tag
        The object's, which must not have changed.

    Raises
    ------
    FileNotFoundError, StorageError
        As :func:`get`.
    """
    if size <= 0:
        return b""
    options: dict[str, Any] = {"range": (start, start + size)}
    if tag is not None:
        options["if_match"] = tag
    try:
        return _request(place, lambda: bytes(client(place).get(place.key, options=options).bytes()))
    except _BeyondEndError:
        return b""
    except ObjectChangedError:
        raise StorageError(
            "the object was replaced while it was read", where=str(place), fix="give the same command again"
        ) from None


def get_from(place: ObjectPlace, start: int) -> bytes:
    """What an object holds from an offset on."""
    try:
        options = {"range": {"offset": start}}
        return _request(place, lambda: bytes(client(place).get(place.key, options=options).bytes()))
    except _BeyondEndError:
        return b""


def get_end(place: ObjectPlace, size: int) -> tuple[bytes, int]:
    """The last bytes of an object, and its size."""

    def read() -> tuple[bytes, int]:
        if place.scheme == "az":  # which knows no ranges from the end
            length = int(client(place).head(place.key)["size"])
            return get_range(place, max(0, length - size), size), length
        answer = client(place).get(place.key, options={"range": {"suffix": size}})
        return bytes(answer.bytes()), int(answer.meta["size"])

    try:
        return _request(place, read)
    except _BeyondEndError:
        return b"", 0
    except _NoRangeError:
        content = get(place)
        return content[-size:], len(content)


def get_ranges(place: ObjectPlace, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Several stretches (offset, size) of an object; empty where one begins after the end."""
    starts, sizes = zip(*ranges, strict=True)

    def read() -> list[bytes]:
        return [bytes(part) for part in client(place).get_ranges(place.key, starts=starts, lengths=sizes)]

    try:
        return _request(place, read)
    except _BeyondEndError:
        return [b""] * len(ranges)


def find(place: ObjectPlace) -> dict[str, Any] | None:
    """Size (``size``) and tag (``e_tag``) of an object; None if there is none."""
    try:
        return _request(place, lambda: dict(client(place).head(place.key)))
    except FileNotFoundError:
        return None


def put(place: ObjectPlace, content: bytes) -> None:
    """Put an object in place of any that is there: whole, or not at all.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    in_parts = len(content) > ONE_PUT_BYTES
    _request(place, lambda: client(place).put(place.key, content, use_multipart=in_parts), writing=True)


def create(place: ObjectPlace, content: bytes) -> None:
    """Put an object where none is.

    Raises
    ------
    FileExistsError
        There is one: of another, or of a first attempt of this call whose answer was lost.
    OutputError
        It cannot be written.
    """
    _request(place, lambda: client(place).put(place.key, content, mode="create"), writing=True)


def replace_if_same(place: ObjectPlace, content: bytes, tag: dict[str, Any]) -> None:
    """Put an object in place of the one that was seen with ``tag``.

    Raises
    ------
    ObjectChangedError
        Another stands there now.
    OutputError
        It cannot be written.
    """
    _request(place, lambda: client(place).put(place.key, content, mode=tag), writing=True)


def delete(places: Sequence[ObjectPlace]) -> None:
    """Delete objects of one bucket; those that are not there are no error."""
    for start in range(0, len(places), DELETED_TOGETHER):
        some = places[start : start + DELETED_TOGETHER]
        try:
            _delete_together(some)
        except FileNotFoundError:
            # Some stores tell, and then have not deleted the others.
            for place in some:
                with suppress(FileNotFoundError):
                    _delete_together([place])


def _delete_together(places: Sequence[ObjectPlace]) -> None:
    keys = [place.key for place in places]
    _request(places[0], lambda: client(places[0]).delete(keys), writing=True)


def copy(place: ObjectPlace, to: ObjectPlace) -> None:
    """Copy an object within its bucket; its bytes stay in the store."""
    _request(place, lambda: client(place).copy(place.key, to.key))


def listed(place: ObjectPlace) -> Iterator[tuple[str, int]]:
    """Every object below a place: its key relative to it, and its size, in the order of keys."""
    skip = len(place.key) + 1 if place.key else 0
    last: str | None = None
    while True:
        some = _request(place, lambda: _list_after(place, last))  # noqa: B023 - called before it changes
        for found in some:
            yield found["path"][skip:], int(found["size"])
        if len(some) < LISTED_TOGETHER:
            return
        last = some[-1]["path"]


def _list_after(place: ObjectPlace, last: str | None) -> list[Any]:
    pages = client(place).list(place.key or None, offset=last, chunk_size=LISTED_TOGETHER)
    return list(next(iter(pages), ()))


def has_any(place: ObjectPlace) -> bool:
    """Whether there is any object below a place."""
    return _request(place, lambda: any(len(some) > 0 for some in client(place).list(place.key or None, chunk_size=1)))


def names_below(place: ObjectPlace) -> list[str]:
    """Names of objects and prefixes directly below a place."""
    found = _request(place, lambda: client(place).list_with_delimiter(place.key or None))
    keys = [*(item["path"] for item in found["objects"]), *found["common_prefixes"]]
    return sorted(key.rstrip("/").rpartition("/")[2] for key in keys)
