"""Synthetic people: heads with known action units, pose and landmarks, rendered without any real person's picture."""
