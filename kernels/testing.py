"""Conformity checks for association tests: run them on yours as they are run on the built-in ones.

>>> from allscan.kernels import testing
>>> from allscan.kernels.linear import LINEAR
>>> testing.check_association_test(LINEAR)

Each check draws genotypes, traits and covariates, runs the test as the scan does, and raises
:class:`ConformityError` with what was expected. They find what goes wrong in practice: a cell left unwritten, an
input changed in place, a result that depends on the batch, on block size or on sample order, zero in
place of NaN for a monomorphic variant, a wrong scale, a one-sided p, a forgotten intercept, an offset that is not
heeded, and read-only inputs that are refused. A test that is for binary traits alone is given binary ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.kernels.association import AssociationTest, Missing, Model, NullData, ScanOptions, has_result
from allscan.kernels.block import GenotypeBlock, encode_block, take
from allscan.kernels.counts import count_genotypes, sample_sets
from allscan.kernels.missingness import missingness_patterns
from allscan.kernels.relatedness import Relatedness, make_relatedness, no_relatives

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

# Results of the same trait in two batches may differ by the rounding of two BLAS calls, in units of a standard
# error or of −log10 p: the stated bound of invariant 1.
TOLERANCE = 1e-5
CALIBRATION_TESTS = 4000
PREVALENCE_LOG_ODDS = -0.9  # of the binary traits: three people in ten are cases
BINARY = frozenset({"binary"})


class ConformityError(AssertionError):
    """An association test breaks the contract."""


@dataclass(frozen=True)
class Example:
    """Genotypes, traits and covariates to run a test on; relatives for tests that heed them."""

    genotypes: NDArray[np.int8]  # (variants, samples), -1 missing
    traits: NDArray[np.float64]  # (samples, traits)
    covariates: NDArray[np.float64]  # (samples, covariates)
    offset: NDArray[np.float64] | None = None  # (samples, traits)
    relatedness: Relatedness | None = None  # nobody is related if not given

    def rows(self, samples: NDArray[np.int64]) -> Example:
        """The same people in another order."""
        offset = None if self.offset is None else self.offset[samples]
        related = self.relatedness
        if related is not None:
            place = np.argsort(samples)
            first, second = place[related.first], place[related.second]
            related = make_relatedness(first, second, related.value, len(samples), diagonal=related.diagonal[samples])
        return Example(self.genotypes[:, samples], self.traits[samples], self.covariates[samples], offset, related)


def make_example(
    seed: int,
    *,
    variants: int = 24,
    samples: int = 400,
    traits: int = 5,
    missing: float = 0.03,
    binary: bool = False,
) -> Example:
    """Variants from common to rare, among them a monomorphic and an uncalled one; traits with gaps.

    With ``binary`` the traits are 0 and 1, and covariates and the last variant change their log odds.
    """
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.01, 0.99, variants)
    frequency[: variants // 4] = rng.uniform(0.001, 0.01, variants // 4)
    genotypes = rng.binomial(2, frequency[:, None], (variants, samples)).astype(np.int8)
    genotypes[rng.random((variants, samples)) < missing] = -1
    genotypes[3] = 0
    genotypes[5] = -1
    covariates = np.column_stack([np.ones(samples), rng.normal(50, 10, samples), rng.integers(0, 2, samples)])
    values = rng.normal(size=(samples, traits)) + 0.02 * covariates[:, 1:2]
    causal = np.where(genotypes[-1] < 0, 0, genotypes[-1])
    values[:, 0] += 0.8 * causal
    if binary:
        values = draw_cases(values - values.mean(axis=0) + PREVALENCE_LOG_ODDS, rng)
    for t in range(1, traits, 2):
        values[rng.random(samples) < 0.15, t] = np.nan
    return Example(genotypes, values, covariates, relatedness=families(samples))


def draw_cases(log_odds: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Who is a case, 0 or 1, given everybody's log odds."""
    return (rng.random(log_odds.shape) < 1 / (1 + np.exp(-log_odds))).astype(np.float64)


def families(samples: int) -> Relatedness:
    """Relatedness of half of the people, in families of two parents and two children; each tenth single is inbred."""
    pairs = [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    mother = np.arange(0, samples // 2 - 3, 4)
    first, second = (np.concatenate([mother + pair[end] for pair in pairs]) for end in (0, 1))
    diagonal = np.ones(samples)
    diagonal[samples // 2 :: 10] = 1.1
    return make_relatedness(first, second, np.full(len(first), 0.5), samples, diagonal=diagonal)


def run_test(
    test: AssociationTest,
    example: Example,
    options: ScanOptions | None = None,
    *,
    block: GenotypeBlock | None = None,
    freeze: bool = False,
) -> dict[str, NDArray[Any]]:
    """Run a test as the scan does; every output has shape (variants, traits).

    With ``freeze`` every input array is read-only, as arrays from a shared object store are.
    """
    options = options or ScanOptions()
    block = encode_block(example.genotypes) if block is None else block
    member, set_of_trait = missingness_patterns(example.traits)
    names = tuple(f"c{j}" for j in range(example.covariates.shape[1]))
    scale = np.ones(len(example.traits))
    offset = None if example.offset is None else example.offset.copy()
    related = no_relatives(len(scale)) if example.relatedness is None else example.relatedness
    traits, covariates = example.traits.copy(), example.covariates.copy()
    data = NullData(traits, covariates, names, scale, member, set_of_trait, related, offset)
    if freeze:
        _freeze(data)
    null, _ = test.fit_null(data, options, dict(test.options or {}))
    counts = count_genotypes(block, sample_sets(member))
    if freeze:
        _freeze(null)
        _freeze(block)
        _freeze(counts)
    shape = (block.n_variants, example.traits.shape[1])
    # A value that no test returns marks the cells that were not written.
    out: dict[str, NDArray[Any]] = {column.name: np.full(shape, -12345.678) for column in test.columns(options)}
    out["status"] = np.full(shape, 255, np.uint8)
    test.score_block(block, counts, null, options, out)
    return out


def _example(test: AssociationTest, seed: int, missing: float = 0.03) -> Example:
    return make_example(seed, missing=missing, binary=test.trait_kinds == BINARY)


def _freeze(arrays: Any) -> None:
    for value in arrays:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        elif isinstance(value, tuple):
            _freeze(value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformityError(message)


def _same(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]], what: str, tolerance: float) -> None:
    _require(bool((one["status"] == other["status"]).all()), f"{what}: status codes change")
    for name in one:
        if name == "status":
            continue
        unit = np.abs(one["standard_error"]) if name == "beta" and "standard_error" in one else np.abs(one[name])
        with np.errstate(invalid="ignore"):
            gap = np.abs(one[name] - other[name]) > tolerance * np.maximum(unit, 1e-300)
        v = np.argwhere(gap)
        _require(
            len(v) == 0,
            f"{what}: {name} changes from {one[name][tuple(v[0])] if len(v) else 0} to "
            f"{other[name][tuple(v[0])] if len(v) else 0}",
        )


def check_every_cell_is_written(test: AssociationTest, options: ScanOptions) -> None:
    """No cell is left as it was; NaN stands exactly where the status says that there is no result."""
    out = run_test(test, _example(test, 1), options)
    _require(bool((out["status"] != 255).all()), "a status was left unwritten")
    for name, values in out.items():
        if name == "status":
            continue
        _require(not bool((values == -12345.678).any()), f"cells of {name} were left unwritten")
        finite = np.isfinite(values) == has_result(out["status"])
        _require(bool(finite.all()), f"{name} must be finite where the status is OK (or says how), and NaN elsewhere")


def check_monomorphic_is_nan(test: AssociationTest, options: ScanOptions) -> None:
    """A variant without variation, or without a call, has NaN and a status, never zero."""
    out = run_test(test, _example(test, 2), options)
    for variant, what in ((3, "monomorphic"), (5, "uncalled")):
        _require(bool((~has_result(out["status"][variant])).all()), f"a {what} variant has status OK")
        for name, values in out.items():
            _require(
                name == "status" or bool(np.isnan(values[variant]).all()), f"{name} of a {what} variant is not NaN"
            )


def check_inputs_are_not_changed(test: AssociationTest, options: ScanOptions) -> None:
    """Read-only inputs are accepted, and give the same results."""
    example = _example(test, 3)
    try:
        frozen = run_test(test, example, options, freeze=True)
    except (ValueError, TypeError) as error:
        raise ConformityError(f"read-only inputs are refused, or written to: {error}") from error
    _same(run_test(test, example, options), frozen, "read-only inputs", 0.0)


def check_batch_independence(test: AssociationTest, options: ScanOptions) -> None:
    """A trait's results are those of a run of that trait alone."""
    example = _example(test, 4)
    together = run_test(test, example, options)
    for t in range(example.traits.shape[1]):
        alone = run_test(test, replace(example, traits=example.traits[:, [t]]), options)
        _same({k: x[:, [t]] for k, x in together.items()}, alone, "a trait run alone", TOLERANCE)


def check_block_independence(test: AssociationTest, options: ScanOptions) -> None:
    """Results do not depend on which variants share a block."""
    example = _example(test, 5)
    whole = encode_block(example.genotypes)
    together = run_test(test, example, options, block=whole)
    for first, last in ((0, 7), (7, 24), (3, 4)):
        part = run_test(test, example, options, block=take(whole, np.arange(first, last)))
        _same({k: x[first:last] for k, x in together.items()}, part, "another block size", TOLERANCE)


def check_sample_order(test: AssociationTest, options: ScanOptions) -> None:
    """Results do not depend on the order of the people."""
    example = _example(test, 6)
    order = np.random.default_rng(6).permutation(example.genotypes.shape[1])
    _same(run_test(test, example, options), run_test(test, example.rows(order), options), "another order", TOLERANCE)


def check_allele_swap(test: AssociationTest, options: ScanOptions) -> None:
    """Counting the other allele turns the sign of beta and changes nothing else (additive model)."""
    if options.model != Model.ADDITIVE:
        return
    example = _example(test, 7)
    swapped = np.where(example.genotypes < 0, example.genotypes, 2 - example.genotypes).astype(np.int8)
    one = run_test(test, example, options)
    other = run_test(test, replace(example, genotypes=swapped), options)
    _same(one, _turned(other), "the other allele", TOLERANCE)


def _turned(out: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The same with the signs of effects turned."""
    return {name: -values if name.startswith("beta") else values for name, values in out.items()}


def check_intercept(test: AssociationTest, options: ScanOptions) -> None:
    """With an intercept among the covariates, a constant added to a trait, or to its log odds, changes nothing."""
    example = _example(test, 8)
    if test.trait_kinds != BINARY:
        shifted = replace(example, traits=example.traits + 3.0)
    elif test.uses_offset:
        shifted = replace(example, offset=np.full(example.traits.shape, 1.5))
    else:
        return  # a forgotten intercept shows under the null
    _same(run_test(test, example, options), run_test(test, shifted, options), "a shifted trait", TOLERANCE)


def check_exchange_of_cases(test: AssociationTest, options: ScanOptions) -> None:
    """Cases and controls exchanged turn the sign of effects and change nothing else. For tests of binary traits."""
    if test.trait_kinds != BINARY:
        return
    example = _example(test, 12)
    one = run_test(test, example, options)
    other = run_test(test, replace(example, traits=1.0 - example.traits), options)
    _same(one, _turned(other), "cases and controls exchanged", TOLERANCE)


def check_offset(test: AssociationTest, options: ScanOptions) -> None:
    """An offset of zero changes nothing, another one does.

    A quantitative trait is tested less its offset; of a binary one, what the offset explains is not found in the
    genotypes again. For tests that say that they use offsets.
    """
    if not test.uses_offset:
        return
    example = _example(test, 11)
    offset = np.random.default_rng(11).normal(size=example.traits.shape)
    plain = run_test(test, example, options)
    with_zero = run_test(test, replace(example, offset=np.zeros_like(offset)), options)
    _same(plain, with_zero, "an offset of zero", TOLERANCE)
    found = run_test(test, replace(example, offset=offset), options, freeze=True)
    tested = has_result(plain["status"]) & has_result(found["status"])
    changed = np.abs(plain["neg_log10_p"] - found["neg_log10_p"])[tested] > TOLERANCE
    _require(bool(changed.mean() > 0.5), "an offset changes nothing, although the test says that it uses offsets")
    if test.trait_kinds == {"quantitative"}:
        expected = run_test(test, replace(example, traits=example.traits - offset), options)
        _same(expected, found, "an offset, against the trait less the offset", TOLERANCE)
    else:
        _check_offset_explains(test, options)


def _check_offset_explains(test: AssociationTest, options: ScanOptions) -> None:
    """Log odds that many variants make, given as the offset: none of these variants is associated any more."""
    rng = np.random.default_rng(13)
    samples, variants, traits = 500, 40, 25
    genotypes = rng.binomial(2, rng.uniform(0.2, 0.5, variants)[:, None], (variants, samples)).astype(np.int8)
    standard = genotypes - genotypes.mean(axis=1, keepdims=True)
    standard /= standard.std(axis=1, keepdims=True)
    offset = standard.T @ rng.normal(0, 1.5 / np.sqrt(variants), (variants, traits))
    cases = draw_cases(offset + PREVALENCE_LOG_ODDS, rng)
    out = run_test(test, Example(genotypes, cases, np.ones((samples, 1)), offset), options)
    p = 10.0 ** -out["neg_log10_p"][has_result(out["status"])]
    rate, bound = float((p <= 0.05).mean()), 0.05 + 5 * np.sqrt(0.05 * 0.95 / len(p))
    _require(rate <= bound, f"given the log odds that it adds to as an offset, p <= 0.05 in {rate:.4f} of the tests")


def check_null_calibration(test: AssociationTest, options: ScanOptions) -> None:
    """Under the null p is uniform, and beta / SE has unit variance: a wrong scale or a one-sided p shows."""
    rng = np.random.default_rng(9)
    samples, variants, traits = 500, CALIBRATION_TESTS // 40, 40
    genotypes = rng.binomial(2, rng.uniform(0.2, 0.5, variants)[:, None], (variants, samples)).astype(np.int8)
    covariates = np.column_stack([np.ones(samples), rng.normal(size=samples)])
    values = rng.normal(5.0, 2.0, (samples, traits))
    if test.trait_kinds == BINARY:
        values = draw_cases(np.full(values.shape, PREVALENCE_LOG_ODDS), rng)
    out = run_test(test, Example(genotypes, values, covariates), options)
    p = 10.0 ** -out["neg_log10_p"][has_result(out["status"])]
    _require(len(p) >= 0.9 * variants * traits, "most null tests have no result")
    for level in (0.5, 0.05, 0.01):
        rate, bound = float((p <= level).mean()), 5 * np.sqrt(level * (1 - level) / len(p))
        _require(abs(rate - level) <= bound, f"under the null p <= {level} in {rate:.4f} of the tests")
    if "beta" in out and "standard_error" in out and options.model != Model.GENOTYPIC:
        z = (out["beta"] / out["standard_error"])[has_result(out["status"])]
        _require(abs(float(z.std()) - 1.0) < 0.06, f"beta / standard_error has standard deviation {z.std():.3f}")
        _require(abs(float(z.mean())) < 0.08, f"beta / standard_error has mean {z.mean():.3f}")


def check_missing_modes_agree(test: AssociationTest, options: ScanOptions) -> None:
    """Without missing genotypes, imputing and excluding are the same."""
    example = _example(test, 10, missing=0.0)
    one = run_test(test, example, options._replace(missing=int(Missing.IMPUTE_MEAN)))
    other = run_test(test, example, options._replace(missing=int(Missing.EXCLUDE)))
    keep = np.arange(24) != 5  # the uncalled variant of the example
    _same({k: x[keep] for k, x in one.items()}, {k: x[keep] for k, x in other.items()}, "missing modes", TOLERANCE)


CHECKS: tuple[Callable[[AssociationTest, ScanOptions], None], ...] = (
    check_every_cell_is_written,
    check_monomorphic_is_nan,
    check_inputs_are_not_changed,
    check_block_independence,
    check_batch_independence,
    check_sample_order,
    check_intercept,
    check_exchange_of_cases,
    check_allele_swap,
    check_null_calibration,
    check_offset,
    check_missing_modes_agree,
)


def check_association_test(
    test: AssociationTest,
    models: tuple[Model, ...] = (Model.ADDITIVE,),
    missing: tuple[Missing, ...] = (Missing.IMPUTE_MEAN, Missing.EXCLUDE),
) -> None:
    """Run every check under the given models and treatments of missing genotypes.

    Raises
    ------
    ConformityError
        With the check's name and what was found.
    """
    for model in models:
        for treatment in missing:
            options = ScanOptions(int(model), int(treatment))
            for check in CHECKS:
                try:
                    check(test, options)
                except ConformityError as error:
                    label = f"{check.__name__} ({model.name.lower()}, {treatment.name.lower()})"
                    raise ConformityError(f"{test.name}: {label}: {error}") from error
