"""Quality of variants and people: one pass over the genotypes, and what it says of whom."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.quality.counting import count_quality
from allscan.engine.quality.judging import OUTLIER_BOUNDS, Judgement, Reason, SampleRules, judge_samples
from allscan.engine.quality.people import people_of
from allscan.engine.quality.samples import SampleMetrics, sample_metrics
from allscan.engine.quality.variants import VariantRules
from allscan.jobs.structure.folder import VARIANTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allscan.jobs.structure.checkpoints import Arrays
    from allscan.jobs.structure.groups import Groups
    from allscan.jobs.structure.spec import QualitySection, SampleQualitySection
    from allscan.jobs.structure.stages import Stages
    from allscan.storage import Place

COUNTING = "quality of variants and people"
EXCLUDE = "exclude"


class Quality(NamedTuple):
    """What the pass found."""

    people: NDArray[np.int64]  # (people,) store rows of those who were counted
    metrics: SampleMetrics
    passing: NDArray[np.int64]  # store rows of the variants that pass
    accounting: tuple[tuple[str, int], ...]  # of all variants


def assess(stages: Stages, section: QualitySection, groups: Groups | None) -> Quality:
    """Count, and judge the variants; what is found of each variant goes to the folder of the structure."""
    prepared = stages.prepared
    people = prepared.people
    rules = VariantRules(**section.variants.model_dump())

    def compute(work: Place) -> Arrays:
        names, code = (groups.names, groups.code[people]) if groups is not None else ((), None)
        counted = people_of(prepared.store, people, groups=names, group=code)

        def tell(done: int, total: int) -> None:
            stages.tell(COUNTING, done, total)

        counts = count_quality(prepared.store, counted, rules, stages.executor, work, on_progress=tell)
        counts.write_variants(prepared.job.output / VARIANTS)
        metrics = sample_metrics(counts)
        reasons, numbers = zip(*counts.accounting, strict=True)
        return {
            **{f"of_{field.name}": getattr(metrics, field.name) for field in fields(metrics)},
            "passing": counts.passing,
            "reasons": np.array(reasons),
            "numbers": np.array(numbers),
        }

    kept = stages.kept("quality", compute)
    metrics = SampleMetrics(**{field.name: kept[f"of_{field.name}"] for field in fields(SampleMetrics)})
    accounting = tuple(zip(kept["reasons"].tolist(), kept["numbers"].tolist(), strict=True))
    return Quality(people, metrics, kept["passing"], accounting)


def judge_calls(quality: Quality, section: SampleQualitySection) -> NDArray[np.object_]:
    """Why each of those who were counted is left out before anything else is computed; None: not at all."""
    found = judge_samples(quality.metrics, replace(_rules(section), outliers=()))
    texts = {
        Reason.CALL_RATE: f"call rate below {section.min_call_rate or 0:g}",
        Reason.SEX_MISMATCH: "sex chromosomes say another sex than reported",
        Reason.UNCLEAR_SEX: "sex chromosomes are unclear, or of another number",
    }
    out = np.full(len(quality.people), None, dtype=object)
    for reason, text in reversed(texts.items()):
        out[(found.reasons & reason) > 0] = text
    return out


OUTLIER = "outlier of a metric of quality, given ancestry"


def judge_outliers(
    quality: Quality, section: SampleQualitySection, components: NDArray[np.float64], groups: Groups | None
) -> Judgement:
    """Who has strange counts of variants for their components and group.

    Parameters
    ----------
    components : (samples, components)
        NaN of who has none.
    """
    names, code = (groups.names, groups.code[quality.people]) if groups is not None else ((), None)
    return judge_samples(
        quality.metrics, _rules(section), components=components[quality.people], groups=names, group=code
    )


def _rules(section: SampleQualitySection) -> SampleRules:
    most = section.max_deviation
    outliers = (
        ()
        if most is None
        else tuple(
            replace(
                bounds,
                below=None if bounds.below is None else most,
                above=None if bounds.above is None else most,
            )
            for bounds in OUTLIER_BOUNDS
        )
    )
    return SampleRules(
        min_call_rate=section.min_call_rate,
        outliers=outliers,
        drop_sex_mismatch=section.sex_mismatch == EXCLUDE,
        drop_unclear_sex=section.unclear_sex == EXCLUDE,
    )
