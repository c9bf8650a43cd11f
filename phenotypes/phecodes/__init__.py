"""Phecodes: diseases of whole phenomes, from billing codes of the ICD."""
