"""Models of CatBoost and XGBoost as TensorFlow graphs, equal to the libraries' own predictions."""
