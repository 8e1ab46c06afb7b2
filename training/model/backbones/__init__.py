"""Networks that turn a photo into features: pretrained ones by name, those of Keras, and the user's own."""
