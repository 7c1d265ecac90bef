"""Drift and skew: how one table differs from another, column by column, and whether that is beyond chance.

`reference.take` draws the rows that are compared and kept, `compare.compare_samples` compares two of them.
"""
