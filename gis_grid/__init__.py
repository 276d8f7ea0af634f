"""GIS Grid: run a city district by its grid."""

__version__ = "0.1.0"
