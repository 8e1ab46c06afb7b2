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
# # 5 · What does the network look at?
#
# A network can be right for a wrong reason: it may know the red box of the shop, not the apple. Two methods show which part of a
# photo made it decide:
#
# - **CAM** (class activation map) reads the answer from inside the network. It is exact and costs nothing, but needs a network whose
#   last layers are a global mean and one dense layer.
# - **LIME** asks from outside: hide parts of the photo, ask again, and see what changes. It works with every classifier, needs
#   hundreds of predictions, and is an estimate.

# %%
import time

import course

course.start_keras(seed=7)

import keras
import matplotlib.pyplot as plt
import numpy as np
from lime_map import explain, superpixels

from training.model.backbones.named import BACKBONES

SIZE = 160
EASY, HARD = course.sources()
photos = course.read_photos("train", HARD)
CLASSES = sorted({photo.label for photo in photos})
x, y = course.arrays(photos, SIZE, CLASSES)

# %% [markdown]
# ## The network: a linear probe
#
# It is that of notebook 4: MobileNetV2, the mean over the grid, one dense layer. The dense layer returns *logits*. Softmax makes
# probabilities of them.

# %%
image = keras.Input((SIZE, SIZE, 3), name="image")
grid = BACKBONES["mobilenet_v2"].features(image)
backbone = keras.Model(image, [grid, keras.layers.GlobalAveragePooling2D()(grid)])
BACKBONES["mobilenet_v2"].load(backbone)

means = backbone.predict(x, batch_size=32, verbose=0)[1]
head = keras.Sequential([keras.Input(means.shape[1:]), keras.layers.Dense(len(CLASSES), name="logits")])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
head.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
history = head.fit(means, y, epochs=course.epochs(40), batch_size=32, verbose=0).history
print(f"training accuracy {history['accuracy'][-1]:.2f}")
weights, bias = head.get_layer("logits").get_weights()

# %% [markdown]
# ## CAM, and why it is exact
#
# The grid has h × w places with C features each. The logit of a class is
#
# > logit = bias + Σ over features ( weight · **mean over places** of the feature )
#
# Sums may change places:
#
# > logit = bias + **mean over places** of ( Σ over features ( weight · feature ) )
#
# The inner sum is one number for each place: the class activation map. So its mean plus the bias *is* the logit. Nothing is
# estimated.


# %%
def activation_map(pixels: np.ndarray, number: int) -> np.ndarray:
    """The share of every place in the logit of a class: [h, w]."""
    places = backbone.predict(pixels[np.newaxis], verbose=0)[0][0]
    return places @ weights[:, number]


test = course.read_photos("test", HARD, only=CLASSES)
test_x, test_y = course.arrays(test, SIZE, CLASSES)
logits = head.predict(backbone.predict(test_x, verbose=0)[1], verbose=0)
guesses = logits.argmax(axis=1)
right = guesses == test_y
print("test:", course.as_percent(int(right.sum()), len(right)))

number = int(guesses[0])
maps = activation_map(test_x[0], number)
print(f"map of {maps.shape[0]} × {maps.shape[1]} places for {CLASSES[number]}")
print(f"mean of the map + bias = {maps.mean() + bias[number]:.4f}")
print(f"logit                  = {logits[0, number]:.4f}")
assert abs(maps.mean() + bias[number] - logits[0, number]) < 1e-3

# %% [markdown]
# ## LIME: ask from outside
#
# 1. Divide the photo into *superpixels*: connected patches of similar colour.
# 2. Hide a random half of them, often, and ask for the probability of the class each time.
# 3. Fit a linear model: how much does each superpixel add?
#
# The module `lime_map.py` beside this notebook does it in about fifty lines.


# %%
def predict(pixels: np.ndarray) -> np.ndarray:
    """The probabilities of photos, [N, classes]."""
    answers = head.predict(backbone.predict(pixels, batch_size=32, verbose=0)[1], verbose=0)
    return keras.ops.convert_to_numpy(keras.ops.softmax(answers))


patches = superpixels(test_x[0])
half = np.random.default_rng(7).random(patches.max() + 1) < 0.5
hidden = np.where(half[patches][:, :, np.newaxis], test_x[0], test_x[0].mean(axis=(0, 1)).astype(np.uint8))
borders = test_x[0].copy()
borders[:, 1:][patches[:, 1:] != patches[:, :-1]] = 255
borders[1:][patches[1:] != patches[:-1]] = 255
course.show([test_x[0], borders, hidden], ["the photo", f"{patches.max() + 1} superpixels", "a random half"], size=2.4)

# %% [markdown]
# ## Side by side
#
# Two photos that the network got right, and two that it got wrong. Red speaks for the predicted class, blue against it.

# %%
SAMPLES = 40 * course.epochs(5)
order = [*np.flatnonzero(right)[:: max(1, right.sum() // 2)][:2], *np.flatnonzero(~right)[:2]]
figure, axes = plt.subplots(len(order), 3, figsize=(8, 2.7 * len(order)), squeeze=False, layout="constrained")
seconds = {"CAM": 0.0, "LIME": 0.0}
for row, place in zip(axes, order, strict=True):
    number = int(guesses[place])
    begin = time.monotonic()
    cam = keras.ops.image.resize(activation_map(test_x[place], number)[:, :, np.newaxis], (SIZE, SIZE))
    middle = time.monotonic()
    lime = explain(test_x[place], predict, number, samples=SAMPLES)
    seconds["CAM"] += (middle - begin) / len(order)
    seconds["LIME"] += (time.monotonic() - middle) / len(order)
    verdict = "right" if right[place] else f"it is {CLASSES[test_y[place]]}"
    row[0].imshow(test_x[place])
    row[0].set_title(f"{CLASSES[number]}: {verdict}", fontsize=10)
    for axis, title, values in ((row[1], "CAM", np.asarray(cam)[:, :, 0]), (row[2], "LIME", lime)):
        limit = np.abs(values).max()
        axis.imshow(test_x[place].mean(axis=2), cmap="gray")
        axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.55)
        axis.set_title(title, fontsize=10)
    for axis in row:
        axis.axis("off")
plt.show()
print(f"for each photo: CAM {seconds['CAM']:.2f} s, LIME {seconds['LIME']:.1f} s with {SAMPLES} predictions")

# %% [markdown]
# **Question.** Does red cover the fruit? Where the network is wrong: does it look at the wrong place, or at the right place with the
# wrong name?
#
# The two maps need not agree. CAM says what the network used. LIME says what would change its answer, estimated by a linear model,
# and another random state gives a slightly different map.

# %% [markdown]
# ## A test of the map itself
#
# A map must depend on what the network learned. Replace the weights of the dense layer by random ones: if the map stays the same, it
# only shows edges of the photo.

# %%
place = order[0]
number = int(guesses[place])
learned = activation_map(test_x[place], number)
places = backbone.predict(test_x[place : place + 1], verbose=0)[0][0]
random = places @ np.random.default_rng(7).normal(size=len(weights))
print(
    f"correlation of the learned map with that of random weights: {np.corrcoef(learned.ravel(), random.ravel())[0, 1]:.2f}"
)

# %% [markdown]
# ## Exercise
#
# 1. Draw the CAM of the *second* best class of a photo. Where do the two classes disagree?
# 2. Cover the reddest place of the CAM with grey and predict again. How much does the probability fall?
# 3. Run LIME twice with another `seed`. How much do the maps differ with 50, 200 and 1,000 predictions?

# %%
second = logits[place].argsort()[-2]
print(f"best {CLASSES[number]}, second {CLASSES[second]}")
