"""The KFP components, one folder each: `<stage>/<verb_noun>/component.py`."""
