"""From a phenotype file to a trait table: built once, documented, and used by any job."""
