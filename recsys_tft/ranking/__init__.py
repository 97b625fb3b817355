"""The ranker's rows, CatBoost's training, and its evaluation."""
