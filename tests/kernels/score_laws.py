"""Slow references for the distribution of a score: plain sums over people, quadrature, and all outcomes."""

from __future__ import annotations

import math

import numpy as np
from scipy import integrate, optimize, special, stats

from allscan.kernels.cumulants import N_CUMULANTS, N_SUMS, Law, add_cumulants, series_reach

LN10 = math.log(10)


def law_of(genotype, probability):
    """Everybody one by one."""
    return Law(np.array(genotype, float), np.array(probability, float), np.zeros(N_CUMULANTS), math.inf)


def sums_of(genotype, probability):
    """Cumulants of everybody."""
    sums = np.zeros(N_SUMS)
    add_cumulants(genotype, probability, math.inf, sums)
    return sums


def series_of(genotype, probability, tolerance=1e-8):
    """Everybody by cumulants."""
    sums = sums_of(genotype, probability)
    return Law(np.zeros(0), np.zeros(0), sums[:N_CUMULANTS], series_reach(sums, tolerance))


def people(rng, n, prevalence, frequency, covariates=2):
    """Genotypes less their projection on covariates, and fitted probabilities that depend on these."""
    x = np.column_stack([np.ones(n), rng.normal(size=(n, covariates))])
    mu = special.expit(special.logit(prevalence) + x[:, 1:] @ rng.normal(0, 0.3, covariates))
    g = rng.binomial(2, frequency, n).astype(float)
    g[rng.integers(n)] += 1  # somebody carries the allele
    w = mu * (1 - mu)
    adjusted = g - x @ np.linalg.solve((x * w[:, None]).T @ x, (x * w[:, None]).T @ g)
    return g, adjusted, mu


def k(t, g, mu):
    """Cumulant generating function, also of complex arguments whose real part does not overflow."""
    return np.sum(np.log1p(mu * np.expm1(g * t)) - t * g * mu)


def k_of_real(t, g, mu):
    return np.sum(np.logaddexp(np.log1p(-mu), np.log(mu) + g * t) - t * g * mu)


def tilted(t, g, mu):
    return special.expit(special.logit(mu) + g * t)


def k1(t, g, mu):
    return np.sum(g * (tilted(t, g, mu) - mu))


def k2(t, g, mu):
    p = tilted(t, g, mu)
    return np.sum(g * g * p * (1 - p))


def naive_root(s, g, mu):
    """Root of ``K'(t) = s``."""
    width = 1.0
    while not k1(-width, g, mu) < s < k1(width, g, mu):
        width *= 2
    return optimize.brentq(lambda t: k1(t, g, mu) - s, -width, width, xtol=1e-15, rtol=1e-14)


def log_saddlepoint_tail(s, g, mu):
    """ln of the tail from s outwards, by the formula as SPAtest has it."""
    t = naive_root(s, g, mu)
    r = math.copysign(math.sqrt(2 * (t * s - k_of_real(t, g, mu))), t)
    v = t * math.sqrt(k2(t, g, mu))
    z = r + math.log(v / r) / r
    return stats.norm.logsf(z) if t > 0 else stats.norm.logcdf(z)


def naive_saddlepoint(s, g, mu):
    """−log10 of the two-sided p."""
    highest = g[g > 0].sum() - (g * mu).sum()
    lowest = g[g < 0].sum() - (g * mu).sum()
    tails = [log_saddlepoint_tail(x, g, mu) for x in (s, -s) if lowest < x < highest]
    return -np.logaddexp.reduce(tails) / LN10


def log_inverted_tail(s, g, mu):
    """ln P of the tail from s outwards, by numerical inversion of the moment generating function.

    Along the line through the saddlepoint, where the integrand does not oscillate:
    ``P(S > s) = 1/(2πi) ∫ exp(K(z) − z s) / z dz``. At an outcome with probability of its own it counts half of that.
    """
    t = naive_root(s, g, mu)
    scale = 1 / math.sqrt(k2(t, g, mu))
    at_root = k_of_real(t, g, mu) - t * s

    def integrand(u):
        z = t + 1j * u * scale
        return (np.exp(k(z, g, mu) - z * s - at_root) * abs(t) / z).real

    total, _ = integrate.quad(integrand, 0, 40, limit=2000, epsabs=1e-12, epsrel=1e-10)
    return at_root + math.log(total * math.copysign(1, t) * scale / (abs(t) * math.pi))


def enumerated_tails(weights, mu, observed):
    """p and mid-p of the number of copies among cases, by all outcomes."""
    total, chance = np.zeros(1), np.ones(1)
    for weight, p in zip(weights, mu, strict=True):
        total = np.concatenate([total, total + weight])
        chance = np.concatenate([chance * (1 - p), chance * p])
    mean = np.dot(weights, mu)
    beyond = np.abs(total - mean) - abs(observed - mean)
    more, equal = chance[beyond > 1e-9].sum(), chance[np.abs(beyond) <= 1e-9].sum()
    return more + equal, more + equal / 2
