"""What simple classifiers read off frozen features."""
