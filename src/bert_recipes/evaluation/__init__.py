"""Scores, calibration, significance, and the files of predictions."""
