"""The structure of a cohort as a folder: quality, relatives, principal components, groups; from one structure file."""
