"""Does a model give the same answers on each device, and how fast? The model runs in the target's interpreter."""
