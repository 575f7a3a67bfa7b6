"""The chain, its anchors, and retention."""
