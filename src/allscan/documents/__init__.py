"""YAML files that people write: read strictly, checked against a model, refused by line and key."""
