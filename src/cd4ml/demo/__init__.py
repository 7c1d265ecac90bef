"""A year of a model in production, played in minutes on one machine."""
