"""The names of the images, in one place; each holds one environment of `images/`."""

import os

from cd4ml.version import VERSION


def _image(environment: str) -> str:
    return f"{os.environ.get('CD4ML_IMAGE_PREFIX', 'cd4ml')}/{environment}:{VERSION}"


TOOLS = _image("tools")
VALIDATE = _image("validate")
TRAIN = _image("train")
EVALUATE = _image("evaluate")
SERVE = _image("serve")


def environment(image: str) -> str:
    """The environment that an image holds: `tools` for `cd4ml/tools:0.1.0`."""
    return image.rsplit("/", 1)[-1].split(":")[0]
