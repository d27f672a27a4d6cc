"""From a data set on the disk to batches of images."""
