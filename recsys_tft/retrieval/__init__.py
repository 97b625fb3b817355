"""Candidate generation: the two-tower model, its training and its evaluation."""
