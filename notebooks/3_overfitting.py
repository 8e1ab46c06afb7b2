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
# # 3 · Overfitting, and what helps
#
# A network with many weights can learn its training photos by heart. Then it is right on them and wrong on others: it *overfits*.
#
# You learn
#
# - how overfitting looks in the curves;
# - three remedies: **augmentation**, **dropout**, **early stopping**;
# - why the validation photos must not be near-copies of the training photos.

# %%
import course

course.start_keras(seed=7)

import keras
import numpy as np

SIZE = 40
EPOCHS = course.epochs(30)
EASY, HARD = course.sources()
photos = course.read_photos("train", HARD)
CLASSES = sorted({photo.label for photo in photos})
x, y = course.arrays(photos, SIZE, CLASSES)
print(len(x), HARD, "photos of", len(CLASSES), "classes")

# %% [markdown]
# ## Two ways to choose validation photos
#
# In a shop people take several photos of the same box. They are near-copies. If one of them is trained and another validates, the
# validation only measures memory.
#
# - **At random**: every fourth photo.
# - **By likeness**: of every class a whole group of photos that look alike.

# %%
at_random = np.arange(len(y)) % 4 == 0
alike = course.hold_out_look_alikes(x, y)
print("at random:", at_random.sum(), "photos · by likeness:", alike.sum(), "photos")


def nearest(validation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every validation photo: its nearest training photo of the same class, and the mean difference in levels."""
    flat, held = x.reshape(len(x), -1).astype(np.float32), np.flatnonzero(validation)
    partners, distances = [], []
    for place in held:
        others = np.flatnonzero(~validation & (y == y[place]))
        differences = np.abs(flat[others] - flat[place]).mean(axis=1)
        partners.append(others[differences.argmin()])
        distances.append(differences.min())
    order = np.argsort(distances)
    return held[order], np.array(partners)[order]


random_photo, random_partner = nearest(at_random)
alike_photo, alike_partner = nearest(alike)
pairs = [(random_photo[0], random_partner[0]), (random_photo[-1], random_partner[-1])]
pairs += [(alike_photo[0], alike_partner[0]), (alike_photo[-1], alike_partner[-1])]
titles = [
    title
    for kind in ("at random", "by likeness")
    for _ in range(2)
    for title in (f"validation,\n{kind}", "nearest in\ntraining")
]
course.show([x[place] for pair in pairs for place in pair], titles)

# %% [markdown]
# ## A network that overfits
#
# It ends with two dense layers over all positions, so it has many weights for few photos.


# %%
def network(*, augment: bool = False, dropout: float = 0.0) -> keras.Model:
    image = keras.Input((SIZE, SIZE, 3), name="image")
    tensor = varied(image) if augment else image
    tensor = keras.layers.Rescaling(1 / 255)(tensor)
    for filters in (24, 48, 96):
        tensor = keras.layers.Conv2D(filters, 3, activation="relu", padding="same")(tensor)
        tensor = keras.layers.MaxPooling2D()(tensor)
    tensor = keras.layers.Flatten()(tensor)
    tensor = keras.layers.Dropout(dropout)(tensor)
    tensor = keras.layers.Dense(128, activation="relu")(tensor)
    tensor = keras.layers.Dropout(dropout)(tensor)
    model = keras.Model(image, keras.layers.Dense(len(CLASSES), activation="softmax")(tensor))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(model: keras.Model, validation: np.ndarray, **options: object) -> dict[str, list[float]]:
    return model.fit(
        x[~validation],
        y[~validation],
        validation_data=(x[validation], y[validation]),
        epochs=EPOCHS,
        batch_size=32,
        verbose=0,
        **options,
    ).history


plain, flattered = network(), network()
runs = {"at random": fit(flattered, at_random), "by likeness": fit(plain, alike)}
print(f"{plain.count_params():,} weights, {int((~alike).sum())} training photos")
course.plot_curves(runs)

# %% [markdown]
# Both are right on nearly all their training photos. The validation at random promises much more than the validation by likeness: on the
# workshop's photos 80 % against about 50 %. Only one of the two promises can be true for photos of another day: the test below decides.

# %%
course.plot_curves({"by likeness": runs["by likeness"]}, figure="loss")

# %% [markdown]
# **Question.** The training loss falls to almost 0 while the validation loss rises. What does the network learn after the lowest
# point of the dashed line?

# %% [markdown]
# ## Augmentation
#
# Every epoch sees every photo a little different: mirrored, turned, enlarged, moved, lighter or darker. The label stays. So the
# network cannot learn single pixels by heart. These layers act in training only.
#
# A variation must keep the class. A mirrored fruit is still that fruit. A mirrored traffic sign is not, and another *hue* turns a
# lemon into a lime.


# %%
def varied(image: keras.KerasTensor) -> keras.KerasTensor:
    for layer in (
        keras.layers.RandomFlip("horizontal_and_vertical"),
        keras.layers.RandomRotation(0.1, fill_mode="reflect"),
        keras.layers.RandomZoom((-0.4, 0.1), fill_mode="reflect"),
        keras.layers.RandomTranslation(0.15, 0.15, fill_mode="reflect"),
        keras.layers.RandomBrightness(0.15, value_range=(0, 255)),
    ):
        image = layer(image)
    return image


image = keras.Input((SIZE, SIZE, 3))
variations = keras.Model(image, varied(image))
seen = [np.clip(variations(x[:1], training=True)[0], 0, 255).astype(np.uint8) for _ in range(7)]
course.show([x[0], *seen], ["the photo", *(f"variation {number}" for number in range(1, 8))])
unchanged = np.abs(variations.predict(x[:1], verbose=0) - x[:1]).max()
print("outside training the layers change nothing:", unchanged == 0)

# %% [markdown]
# ## Dropout
#
# In training, dropout sets a random half of the values to 0. No value can rely on another one, so the network spreads what it
# knows. Outside training, dropout does nothing.

# %%
ones = np.ones((1, 12), np.float32)
print("in training:     ", keras.layers.Dropout(0.5)(ones, training=True).numpy().round(1)[0])
print("outside training:", keras.layers.Dropout(0.5)(ones, training=False).numpy().round(1)[0])

# %% [markdown]
# ## Early stopping
#
# Training ends when the validation loss has not improved for some epochs (the *patience*), and the weights of the best epoch are
# restored. The patience must be smaller than the number of epochs, otherwise it can never stop anything.

# %%
stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=8, restore_best_weights=True)
with_dropout, with_all = network(dropout=0.5), network(augment=True, dropout=0.5)
compared = {
    "plain": runs["by likeness"],
    "dropout": fit(with_dropout, alike),
    "dropout, augmentation,\nearly stopping": fit(with_all, alike, callbacks=[stopping]),
}
course.plot_curves(compared)
course.plot_curves(compared, figure="loss")
print("best epoch of the last run:", int(np.argmin(compared["dropout, augmentation,\nearly stopping"]["val_loss"])) + 1)

# %% [markdown]
# ## The test, once
#
# The test photos are from other visits to shops. Nothing above was chosen with them.

# %%
test = course.read_photos("test", HARD, only=CLASSES)
test_x, test_y = course.arrays(test, SIZE, CLASSES)


def count_right(model: keras.Model) -> tuple[int, int]:
    return int((model.predict(test_x, verbose=0).argmax(axis=1) == test_y).sum()), len(test_y)


course.plot_shares(
    {"plain": count_right(plain), "dropout": count_right(with_dropout), "all three": count_right(with_all)},
    f"{HARD} test photos, with 95 % intervals",
)

# %% [markdown]
# The intervals are wide, because there are few test photos. So the curves on the validation photos show the order, and the test only
# says how far we still are from a useful network. Notebook 4 goes there.

# %% [markdown]
# ## Exercise
#
# 1. Let augmentation shift the hue: add `keras.layers.RandomHue(0.5, value_range=(0, 255))` to `varied`. Which classes suffer?
# 2. Train with `patience=50`. What happens, and why?
# 3. Write the confusion of the last network: which class is taken for which? This cell is the start.

# %%
guesses = with_all.predict(test_x, verbose=0).argmax(axis=1)
wrong = [
    f"{CLASSES[truth]} taken for {CLASSES[guess]}"
    for truth, guess in zip(test_y, guesses, strict=True)
    if truth != guess
]
print(len(wrong), "mistakes, for example:", *wrong[:3], sep="\n  ")
