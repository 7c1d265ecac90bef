"""The team's own model, which the run file names (docs/your-model.md)."""


def pairs(job):
    """A network whose hidden units multiply each other: a carrier, a distance and a day are late together."""
    from keras import layers

    def logit(features):
        vector = features.vector()
        left, right = (layers.Dense(job.settings["units"], activation="tanh")(vector) for _ in range(2))
        return layers.Dense(1)(layers.Concatenate()([vector, left * right]))

    return job.network(logit, epochs=10)
