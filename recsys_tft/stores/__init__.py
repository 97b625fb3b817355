"""An export in the formats of vector stores and feature stores."""
