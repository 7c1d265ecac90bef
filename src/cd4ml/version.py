"""The version of the package, which tags the images."""

VERSION = "0.1.0"
