"""One answer of several models, the mean of theirs: an ensemble.

    PORT=9700 python examples/chain/mean.py http://127.0.0.1:9501 http://127.0.0.1:9502

Where one of them fails, so does the answer: a mean over fewer is another model, which nobody has evaluated.
"""

import asyncio
import sys

import numpy as np

from cd4ml.serving.node import Columns, Model, Predictions, serve


async def mean(columns: Columns, *models: Model) -> Predictions:
    """Asks all at once."""
    answers = await asyncio.gather(*(model(columns) for model in models))
    values = np.mean([one.values for one in answers], axis=0)
    return Predictions(answers[0].names, values, {"mean_of": [one.tags for one in answers]})


if __name__ == "__main__":
    serve(mean, sys.argv[1:])
