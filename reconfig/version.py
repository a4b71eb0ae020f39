"""The version, which files that reconfig writes say too."""

VERSION = "0.1.0"
