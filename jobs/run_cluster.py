"""The cluster that a run was given to, and whether its folder may be believed about where that is."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from allscan.errors import ClusterError

if TYPE_CHECKING:
    from allscan.cluster.ray_jobs import ClusterJobs
    from allscan.jobs.run_folder import RunFolder

ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def cluster_of(folder: RunFolder, state: dict[str, Any]) -> ClusterJobs | None:
    """The job server of the cluster that a run was submitted to; None where it was not.

    Whoever asks sends the cluster's token along, which opens the cluster. So the address in a folder that somebody else
    wrote is not believed, unless it leads to this machine or the environment says the same.

    Raises
    ------
    ClusterError
        The address is not to be trusted, or nobody answers there.
    """
    cluster = state.get("cluster")
    if not cluster:
        return None
    address = str(cluster["address"])
    if not (_is_own(folder) or _is_this_machine(address) or address in map(os.environ.get, ADDRESS_VARIABLES)):
        raise ClusterError(
            f"somebody else wrote the run folder, which names the cluster {address}; it would be sent the token",
            where=str(folder.path),
            fix=f"if that is your cluster, say so: export {ADDRESS_VARIABLES[0]}={address}",
        )
    from allscan.cluster.ray_jobs import ClusterJobs

    return ClusterJobs(address)


def _is_own(folder: RunFolder) -> bool:
    """Whether the state was written by this user or root; of an object nobody knows."""
    file = folder.state_file
    return isinstance(file, Path) and file.stat().st_uid in (0, os.getuid())


def _is_this_machine(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
