"""Prediction with a finished model, as a stream."""
