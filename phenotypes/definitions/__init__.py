"""Definitions of phenotypes: files that say who is a case, who a control, and from when."""
