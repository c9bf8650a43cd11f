"""The scan: genotype store and ingest, design, plan, scan, results cube."""
