"""stackwatch turns microscope acquisitions into WEBKNOSSOS datasets."""

__version__ = "0.1.0"
