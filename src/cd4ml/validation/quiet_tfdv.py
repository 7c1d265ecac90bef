"""TFDV, imported without the noise of what it stands on and without taking the GPU that training needs."""

import contextlib
import io
import logging
import os
import warnings

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

_before = logging.root.manager.disable
logging.disable(logging.WARNING)
try:
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        import pyarrow_hotfix  # type: ignore[import-not-found]  # noqa: F401 (closes a hole of pyarrow 10)
        import tensorflow_data_validation as tfdv
        from tensorflow_data_validation.statistics import stats_impl
        from tensorflow_data_validation.statistics.generators.basic_stats_generator import BasicStatsGenerator
        from tensorflow_data_validation.statistics.generators.top_k_uniques_sketch_stats_generator import (
            TopKUniquesSketchStatsGenerator,
        )
finally:
    logging.disable(_before)

__all__ = ["BasicStatsGenerator", "TopKUniquesSketchStatsGenerator", "stats_impl", "tfdv"]
