"""The networks: patches, P, attention pooling, both classifiers."""
