"""The version of the package, which tags the images."""

from importlib.metadata import version

VERSION = version("cd4ml")
