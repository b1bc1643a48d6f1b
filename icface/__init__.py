"""ICface: one portrait and 20 readable numbers make that person smile, blink and turn.

This package is the method, in one process: it imports neither Ray nor MLflow. Importing it, or any of its
`config` modules, loads no torch.
"""

__version__ = "0.1.0"
