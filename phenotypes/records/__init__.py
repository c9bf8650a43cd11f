"""People's records in OMOP tables: where they stand, what they hold, and what is wrong with them."""
