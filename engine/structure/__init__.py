"""The structure of a cohort: principal components of its genotypes."""
