"""SavedModels read without TensorFlow: signatures, operations, element types."""
