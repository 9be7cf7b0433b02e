"""Reports that people look at: figures of what a model does."""
