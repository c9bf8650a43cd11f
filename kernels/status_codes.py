"""Statuses as plain integers: what compiled kernels can compare and write."""

from __future__ import annotations

from allscan.kernels.association import Status

OK = int(Status.OK)
MONOMORPHIC = int(Status.MONOMORPHIC)
ALL_MISSING = int(Status.ALL_MISSING)
TRAIT_CONSTANT = int(Status.TRAIT_CONSTANT)
TOO_FEW_SAMPLES = int(Status.TOO_FEW_SAMPLES)
COLLINEAR = int(Status.COLLINEAR)
PARTLY_COLLINEAR = int(Status.PARTLY_COLLINEAR)
PERFECT_FIT = int(Status.PERFECT_FIT)
NOT_CONVERGED = int(Status.NOT_CONVERGED)
SADDLEPOINT = int(Status.SADDLEPOINT)
FIRTH = int(Status.FIRTH)
EXACT = int(Status.EXACT)
TOO_FEW_CASES = int(Status.TOO_FEW_CASES)
SEPARATED = int(Status.SEPARATED)
TOO_FEW_ALLELES = int(Status.TOO_FEW_ALLELES)
NOT_TESTED = int(Status.NOT_TESTED)
