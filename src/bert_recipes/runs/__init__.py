"""Runs and their folders: opening, finishing, folds, comparing, pushing, using."""
