"""Clips in and out: `reading` decodes in order, `writing` makes H.264 and GIF."""
