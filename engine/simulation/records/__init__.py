"""Health records of a simulated cohort, as OMOP tables whose truth is known."""
