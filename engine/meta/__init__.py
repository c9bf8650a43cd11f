"""Meta-analysis of the groups of a scan, or of studies: from blocks of effects to a cube of their combinations."""
