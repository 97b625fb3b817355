"""An export in the formats of other stores: of vectors, and of features."""
