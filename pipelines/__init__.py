"""The KFP pipelines, one folder each: `<name>/pipeline.py`."""
