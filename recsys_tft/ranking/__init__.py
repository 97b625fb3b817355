"""The ranker's rows, its training as one of several kinds of models, and its evaluation."""
