"""Continuous delivery for machine learning on Kubeflow Pipelines."""
