"""One JSON document that says where results come from: the job, its inputs, programs, counts and costs.

Described in docs/reference/provenance.md. It holds counts of people, never their ids.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import resource
import secrets
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allscan.engine.columns import cube_columns
from allscan.engine.plan import ScanPlan
from allscan.jobs.machine import blas_libraries, describe_system
from allscan.jobs.predictors import CheckedPredictors
from allscan.jobs.run_folder import now

if TYPE_CHECKING:
    from allscan.engine.scan import ScanSummary
    from allscan.jobs.check import CheckedJob
    from allscan.jobs.check_report import CheckReport
    from allscan.jobs.checks import Checked
    from allscan.jobs.job import Job
    from allscan.jobs.plan import PlannedJob

FORMAT = "allscan-provenance"
FORMAT_VERSION = 1

PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "zarr",
    "numcodecs",
    "xarray",
    "pandas",
    "pyarrow",
    "formulaic",
    "pydantic",
)
"""Packages whose versions can change a number or a file."""


@dataclass
class Session:
    """One process that worked on a run: what it took, to be told in the provenance."""

    id: str = field(default_factory=lambda: secrets.token_hex(6))
    started: str = field(default_factory=now)
    _wall: float = field(default_factory=time.monotonic)
    _cpu: float = field(default_factory=lambda: cpu_seconds())

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the session began."""
        return round(time.monotonic() - self._wall, 3)

    def to_json(self, **more: Any) -> dict[str, Any]:
        """Times (UTC), seconds and bytes of this session so far."""
        return {
            "id": self.id,
            "started": self.started,
            "finished": now(),
            "elapsed_seconds": self.elapsed_seconds,
            "cpu_seconds": round(cpu_seconds() - self._cpu, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            **more,
        }


def cpu_seconds() -> float:
    """CPU time of this process and of its workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_memory_bytes() -> int:
    """Largest resident memory of this process since it began, or of one of its workers if that was larger."""
    # Linux counts kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return max(_own_peak(unit), workers)


def _own_peak(unit: int) -> int:
    try:
        # On Linux the peak of getrusage begins with that of the process that started this one.
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def software_versions() -> dict[str, Any]:
    """Versions of allscan, Python, the packages that matter, and the BLAS in use."""
    return {
        "allscan": metadata.version("allscan"),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "blas": blas_libraries(),
    }


def _version(package: str) -> str:
    # A package that is loaded knows; to ask its metadata takes as long as a small import.
    told = getattr(sys.modules.get(package), "__version__", None)
    return told if isinstance(told, str) else metadata.version(package)


def provenance_document(
    *,
    job: Job,
    checked: Checked,
    planned: PlannedJob,
    summary: ScanSummary,
    meta: dict[str, Any] | None,
    run: dict[str, Any],
) -> str:
    """The document as JSON text.

    Parameters
    ----------
    job, checked, planned, summary
        The job and what became of it.
    meta
        What became of a meta-analysis of its groups; None where there is none.
    run
        Times and costs of the session, with those of earlier ones.
    """
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": job.spec.name,
        "job": job.spec.model_dump(),
        "job_file": _job_file(job),
        "command": command_words(),
        "software": software_versions(),
        "system": describe_system(),
        "inputs": [file.to_json() for file in checked.inputs],
        **_scanned(job, checked),
        **_people_described(checked.report),
        **_tested(checked, planned, summary),
        "meta_analysis": meta,
        "trait_notes": [
            {"trait": trait, "stratum": stratum, "message": message} for trait, stratum, message in summary.trait_notes
        ],
        "warnings": list(checked.report.warnings),
        "notes": list(checked.report.notes),
        "run": run,
    }
    return json.dumps(_finite(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _scanned(job: Job, checked: Checked) -> dict[str, Any]:
    """What traits are tested against."""
    report = checked.report
    if isinstance(checked, CheckedPredictors):
        return {
            "predictors": {
                "path": report.genotypes,
                "n_samples": report.n_samples,
                "columns": [asdict(predictor) for predictor in checked.predictors],
            }
        }
    return {
        "genotypes": {
            "path": job.spec.store,
            "fingerprint": checked.store.fingerprint(),
            "n_samples": report.n_samples,
            "n_variants": report.n_variants,
            "reference_build": report.reference_build,
            "contigs": list(report.contigs),
        },
        "null_model": None if checked.null_model is None else checked.null_model.to_json(),
    }


def _people_described(report: CheckReport) -> dict[str, Any]:
    return {
        "samples": {
            "in_genotypes": report.n_samples,
            "analysed": report.n_analysed,
            "sex": report.sex,
            "accounting": [{"reason": line.text, "count": line.count, "kept": line.kept} for line in report.accounting],
        },
        "traits": [asdict(trait) for trait in report.traits],
        "covariates": {
            "formula": report.formula,
            "names": list(report.covariates),
            "dropped": [{"name": name, "reason": reason} for name, reason in report.dropped_covariates],
        },
    }


def _tested(checked: Checked, planned: PlannedJob, summary: ScanSummary) -> dict[str, Any]:
    """What was tested, and what came out."""
    counts = {"n_tests": summary.n_tests, "status_counts": summary.status_counts, "n_hits": summary.n_hits}
    if isinstance(checked, CheckedPredictors):
        return {"strata": ["all"], "results": {**counts, "options": checked.options._asdict()}}
    assert isinstance(planned.scan, ScanPlan)
    return {
        "variants": _variants_described(checked, summary),
        "strata": [stratum.name for stratum in checked.strata],
        "stratifications": [one.to_json() for one in checked.stratifications],
        "results": {
            "columns": [asdict(column) for column in cube_columns(checked.spec)],
            **counts,
            "hits_neg_log10_p": checked.spec.hits_neg_log10_p,
            "plan_digest": planned.scan.made_of.digest,
        },
    }


def _variants_described(checked: CheckedJob, summary: ScanSummary) -> dict[str, Any]:
    outside = checked.report.n_variants - checked.report.n_in_regions
    accounting = {"outside the regions of the job": outside} if outside else {}
    accounting |= summary.variant_accounting
    # How many were tested has a key of its own.
    accounting.pop("variants tested", None)
    return {
        "in_genotypes": checked.report.n_variants,
        "tested": summary.n_variants,
        "filters": list(checked.report.filters),
        "accounting": [{"reason": reason, "count": count} for reason, count in accounting.items()],
    }


def _job_file(job: Job) -> dict[str, Any] | None:
    if job.document is None:
        return None
    digest = hashlib.sha256(job.document.text.encode())
    return {"path": str(job.document.path), "sha256": digest.hexdigest()}


def _finite(value: Any) -> Any:
    """JSON has no NaN: the mean of nobody is null."""
    if isinstance(value, dict):
        return {key: _finite(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def command_words() -> list[str]:
    """How this program was called."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
