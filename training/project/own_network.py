"""A network of your own: `model.architecture: model:network` in params.yaml names the function below.

Change it as you like. It gets the size of the photos and the number of classes, and returns a Keras model:

- its input is float32[N, image_size, image_size, 3], with pixels from 0 to 255: scale them in the network;
- its last layer is Dense(classes) on pooled features, without an activation: the softmax is added for you.

The code travels to a cluster in the image of the Dockerfile, never as a pickle.
"""

import keras
from keras import layers


def network(image_size: int, classes: int) -> keras.Model:
    """From photos, float32[N, S, S, 3] with 0 to 255, to logits, float32[N, classes]."""
    image = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(image)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes)(x))
