"""Files that start a cluster, to be copied and filled in: they lie beside this module, in ``deploy/``."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "gcp": ("gcp.yaml", "Ray's autoscaler on Google Cloud, spot workers"),
    "aws": ("aws.yaml", "Ray's autoscaler on AWS, spot workers"),
    "raycluster": ("raycluster.yaml", "KubeRay: a cluster for jobs that come and go"),
    "rayjob": ("rayjob.yaml", "KubeRay: one job on a cluster of its own"),
    "slurm": ("slurm.sh", "a cluster inside one Slurm job"),
    "container": ("Containerfile", "the image of a cluster's nodes"),
}
"""Name of each → its file, and what it is for."""


def deployment_file(name: str) -> str:
    """Text of a file.

    Parameters
    ----------
    name
        A key of ``FILES``.
    """
    return (Path(__file__).parent / "deploy" / FILES[name][0]).read_text(encoding="utf-8")
