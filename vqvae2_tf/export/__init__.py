"""SavedModels: written and loaded."""
