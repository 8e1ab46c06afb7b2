# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · Pretraining and fine-tuning
#
# There are few shop photos. But somebody else has trained a network on more than a million photos of a thousand things (ImageNet).
# It knows edges, skins, leaves and round things. Take it, and teach it only what is new.
#
# You learn
#
# - a **linear probe**: the pretrained network stays as it is, one dense layer is trained on its features;
# - **fine-tuning**: then all weights are trained, with a small rate;
# - how both compare with a network that starts from nothing.

# %%
import time

import course

course.start_keras(seed=7)

import keras
import numpy as np

from training.model.backbones.named import BACKBONES

SIZE = 128
EASY, HARD = course.sources()
photos = course.read_photos("train", HARD)
CLASSES = sorted({photo.label for photo in photos})
x, y = course.arrays(photos, SIZE, CLASSES)
held = course.hold_out_look_alikes(x, y)  # see notebook 3
test_x, test_y = course.arrays(course.read_photos("test", HARD, only=CLASSES), SIZE, CLASSES)
print(f"{(~held).sum()} training, {held.sum()} validation, {len(test_y)} test photos of {len(CLASSES)} classes")

# %% [markdown]
# ## From nothing
#
# Like the network of notebook 2, with one more layer. Its training photos are all it ever sees.


# %%
def from_nothing() -> keras.Model:
    image = keras.Input((SIZE, SIZE, 3), name="image")
    tensor = keras.layers.Rescaling(1 / 255)(image)
    for filters in (16, 32, 64, 96):
        tensor = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(tensor)
    tensor = keras.layers.GlobalAveragePooling2D()(tensor)
    return keras.Model(image, keras.layers.Dense(len(CLASSES), activation="softmax")(tensor))


def fit(model: keras.Model, rate: float, epochs: int, pixels: np.ndarray = x) -> dict[str, list[float]]:
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    begin = time.monotonic()
    history = model.fit(
        pixels[~held], y[~held], validation_data=(pixels[held], y[held]), epochs=epochs, batch_size=32, verbose=0
    ).history
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    print(f"{trained:,} trained weights, {len(history['loss'])} epochs, {time.monotonic() - begin:.0f} s")
    return history


scratch = from_nothing()
scratch_history = fit(scratch, 1e-3, course.epochs(15))

# %% [markdown]
# ## The backbone
#
# A *backbone* is a pretrained network without its last layer. MobileNetV2 makes 1280 features for each place of a coarse grid. Their
# mean over the grid describes the photo.
#
# Each backbone wants its pixels in a certain range. This one scales them itself: it takes 0 to 255. The workshop's VGG16 got a
# wrong range, and nothing told it.

# %%
image = keras.Input((SIZE, SIZE, 3), name="image")
mean = keras.layers.GlobalAveragePooling2D(name="mean")(BACKBONES["mobilenet_v2"].features(image))
backbone = keras.Model(image, mean, name="backbone")
BACKBONES["mobilenet_v2"].load(backbone)
print(f"{backbone.count_params():,} pretrained weights, features {backbone.output_shape}")

# %% [markdown]
# ## Linear probe
#
# The backbone does not change, so its features are computed once for each photo. Training one dense layer on them takes a moment.

# %%
begin = time.monotonic()
features = backbone.predict(x, batch_size=32, verbose=0)
print(f"features of {len(x)} photos in {time.monotonic() - begin:.0f} s")

feature = keras.Input(features.shape[1:])
head = keras.Model(feature, keras.layers.Dense(len(CLASSES), activation="softmax", name="probabilities")(feature))
probe_history = fit(head, 1e-3, course.epochs(40), features)
probe = keras.Model(backbone.input, head(backbone.output))

# %% [markdown]
# **Question.** The probe trains about ten thousand weights, fewer than the network from nothing. Why does it know more?

# %% [markdown]
# ## Fine-tuning
#
# Now all weights may move, but slowly: the rate is twenty times smaller. A large rate would destroy in a few steps what a million
# photos taught.
#
# The head comes trained from the probe. With a random head the first steps would push noise into the backbone.

# %%
test_features = backbone.predict(test_x, batch_size=32, verbose=0)
probe_right = head.predict(test_features, verbose=0).argmax(axis=1) == test_y  # before fine-tuning changes the weights
backbone.trainable = True
tuned_history = fit(probe, 5e-5, course.epochs(5))

# %% [markdown]
# Look at the number of trained weights that it printed. The workshop's notebook "unfroze" layers inside a frozen model: nothing
# thawed, and no figure showed it. So print that number.

# %%
course.plot_curves({"from nothing": scratch_history, "linear probe": probe_history, "fine-tuned": tuned_history})

# %% [markdown]
# ## The test, once
#
# The test photos are from other visits to shops, and nothing above was chosen with them. The figures below are of the photos at hand.


# %%
def count(right: np.ndarray) -> tuple[int, int]:
    return int(right.sum()), len(right)


scratch_right = scratch.predict(test_x, verbose=0).argmax(axis=1) == test_y
guesses = probe.predict(test_x, verbose=0).argmax(axis=1)
tuned_right = guesses == test_y
course.plot_shares(
    {"from nothing": count(scratch_right), "linear probe": count(probe_right), "fine-tuned": count(tuned_right)},
    f"{HARD} test photos, with 95 % intervals",
)

# %% [markdown]
# One run on the workshop's 51 shop photos: from nothing 55 % (41 to 68), linear probe 73 % (59 to 83), fine-tuned 78 % (65 to 88).
#
# Pretraining helps by far the most. Whether fine-tuning adds something cannot be seen here: its interval overlaps that of the probe
# almost completely. Five epochs, 371 photos of 128 pixels and 51 test photos are too few. `orchard train` does it with more care.

# %%
wrong = np.flatnonzero(~tuned_right)[:8]
if len(wrong):
    titles = [f"{CLASSES[test_y[place]]},\ntaken for {CLASSES[guesses[place]]}" for place in wrong]
    course.show([test_x[place] for place in wrong], titles, columns=4, size=2.2)

# %% [markdown]
# ## Exercise
#
# 1. Fine-tune with the rate 1e-2 instead of 5e-5. What do the curves show?
# 2. Set `SIZE = 224`, the size that the backbone was trained with. How much better is the probe, how much longer does it take?
# 3. Fine-tune without the probe first, with a random head. Compare the first epoch.

# %%
print("the first epoch of fine-tuning: validation accuracy", round(tuned_history["val_accuracy"][0], 2))
