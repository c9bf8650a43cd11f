"""The part of the job file that changes no result: where the job runs, and what it may use."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from allscan.documents.sections import Section, Text
from allscan.storage.places import (
    CREDENTIALS_ELSEWHERE,
    RETRY_SECONDS,
    StorageOptions,
    checked_endpoint,
    looks_like_credential,
)

_MEMORY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?B?|B)\s*", re.IGNORECASE)
_ADDRESS = re.compile(r"ray://[^\s/:@]+(:[0-9]{1,5})?|[^\s/:@]+:[0-9]{1,5}")
MOST_MEMORY = 2**60
_MEMORY_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def parse_memory(text: str) -> int:
    """Bytes of ``8GB`` (10^9), ``8GiB`` (2^30), ``500MB``, …

    Raises
    ------
    ValueError
        There is no unit, or the text is no amount of memory.
    """
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not an amount of memory; write a number and a unit, e.g. 8GB or 16GiB")
    size = float(match[1]) * _MEMORY_UNITS[match[2].lower().removesuffix("b")]
    if size > MOST_MEMORY:
        raise ValueError("that is more memory than any machine has")
    amount = int(size)
    if amount < 64 * 2**20:
        raise ValueError(f"{text!r} is too little memory: at least 64MB is needed")
    return amount


def _check_memory(value: Any) -> Any:
    if value is not None:
        parse_memory(str(value))
    return value


def _check_address(value: str | None) -> str | None:
    if value is not None and value not in ("auto", "local") and not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r} is no address of a Ray cluster: write local, auto, HOST:PORT or ray://HOST:PORT")
    return value


class StorageSection(Section):
    """How object storage (`s3://`, `gs://`, `az://`) is reached. Credentials come from the environment, never from
    here."""

    requester_pays: bool | Text = Field(
        default=False,
        description=(
            "Of a bucket whose requester pays: the project that does (Google Cloud), or `true` (S3). Left out: "
            "GOOGLE_CLOUD_QUOTA_PROJECT or AWS_REQUEST_PAYER of the environment."
        ),
        examples=["my-billing-project"],
    )
    endpoint: Annotated[Text, AfterValidator(checked_endpoint)] | None = Field(
        default=None, description="Address of the server, `https://HOST:PORT`. Left out: the provider's."
    )
    region: Text | None = Field(default=None, description="Region of the buckets. Left out: the environment's.")
    anonymous: bool = Field(default=False, description="Public data are read without credentials.")
    retry_seconds: float = Field(
        default=RETRY_SECONDS,
        ge=1.0,
        le=3600.0,
        description="How long (seconds) a request is tried again when the storage fails or does not answer.",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_credentials(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if looks_like_credential(str(key)):
                raise ValueError(f"{str(key)!r} is a credential, which a job file never holds: {CREDENTIALS_ELSEWHERE}")
        return value

    def options(self) -> StorageOptions:
        """The same for the storage module."""
        return StorageOptions(**self.model_dump())


class RuntimeSection(Section):
    """Where and how the job runs. These keys change no result; `--workers` and `--memory` win over them."""

    workers: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Tasks at the same time. Left out: one per CPU, or on Ray as many as the cluster has room for.",
    )
    memory: Annotated[Text | None, BeforeValidator(_check_memory)] = Field(
        default=None,
        description="Memory the job may use, e.g. `8GB` or `16GiB`. Left out: 60 % of what is free at first.",
    )
    executor: Literal["embedded", "ray"] = Field(
        default="embedded",
        description="Where tasks run: `embedded`, in this machine's program; `ray`, on a Ray cluster.",
    )
    storage: StorageSection = Field(default=StorageSection(), description="How object storage is reached.")
    address: Annotated[Text | None, AfterValidator(_check_address)] = Field(
        default=None,
        description=(
            "Ray cluster: `local` starts one on this machine that ends with the run; `auto` joins the one that "
            "`RAY_ADDRESS` names or that runs on this machine; `HOST:PORT` or `ray://HOST:PORT`. Left out: `auto`."
        ),
        examples=["local", "10.0.0.5:6379"],
    )

    @model_validator(mode="after")
    def _address_is_of_ray(self) -> Self:
        if self.address is not None and self.executor != "ray":
            raise ValueError("an address is that of a Ray cluster: set `executor: ray` too, or leave it out")
        return self
