"""The one loop, and what it says and keeps."""
