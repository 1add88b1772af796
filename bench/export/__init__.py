"""A trained adapter as a folder to share: weights, configuration, model card and record."""
