"""Trained models as what serves."""
