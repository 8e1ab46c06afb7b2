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
# # 2 · A first Keras network
#
# You learn
#
# - how a network is written in Keras: as a list of layers (*Sequential*), and as a graph (*functional*);
# - why images need convolutions: how many weights a layer has;
# - how training, validation and test differ;
# - that a network can be right on one kind of photo and useless on another.

# %%
import course

course.start_keras(seed=7)

import keras
import matplotlib.pyplot as plt
import numpy as np

SIZE = 32  # pixels a side: small, so that an epoch takes seconds
EPOCHS = course.epochs(12)
EASY, HARD = course.sources()
CLASSES = course.classes()
print(len(CLASSES), "classes:", ", ".join(CLASSES))

# %% [markdown]
# ## The data
#
# 80 turntable photos of each class are enough for a start. Each photo is scaled to 32 × 32 pixels.
#
# A quarter of them is **validation**: the network is not trained on it, but we look at it after every epoch. It is a whole group of
# photos that look alike, so that no near-copy is trained. Notebook 3 shows what happens otherwise. The **test** photos stay untouched
# until the end.

# %%
x, y = course.arrays(course.read_photos("train", EASY, per_class=80), SIZE, CLASSES)
validation = course.hold_out_look_alikes(x, y)
train_x, train_y = x[~validation], y[~validation]
validation_x, validation_y = x[validation], y[validation]
test_photos = course.read_photos("test", EASY)
test_x, test_y = course.arrays(test_photos, SIZE, CLASSES)
print("training", train_x.shape, "· validation", validation_x.shape, "· test", test_x.shape)

# %% [markdown]
# ## How many weights?
#
# A dense layer connects every pixel with every output. A convolution moves a small window over the photo and uses the same few
# weights everywhere. Compare both on a photo of 128 × 128 pixels.

# %%
photo = keras.Input((128, 128, 3))
dense = keras.Model(photo, keras.layers.Dense(512, use_bias=False)(keras.layers.Flatten()(photo)))
convolution = keras.Model(photo, keras.layers.Conv2D(16, 3, use_bias=False)(photo))
print(f"512 dense outputs:       {dense.count_params():>12,} weights")
print(f"16 convolutions of 3×3:  {convolution.count_params():>12,} weights")

# %% [markdown]
# **Question.** What would the two numbers be for a photo of 256 × 256 pixels? Guess first, then change the cell.

# %% [markdown]
# ## Sequential: a list of layers
#
# The layers, in their order:
#
# 1. `Rescaling` turns 0 to 255 into 0 to 1. It is inside the network, so that nobody can forget it later.
# 2. Three times: `Conv2D` finds patterns, `MaxPooling2D` halves the resolution.
# 3. `GlobalAveragePooling2D` takes the mean of each pattern over the whole photo.
# 4. `Dense` with *softmax* returns a probability for each class. They add up to 1.


# %%
def layers() -> list[keras.Layer]:
    return [
        keras.layers.Rescaling(1 / 255, name="scale"),
        keras.layers.Conv2D(24, 3, activation="relu", padding="same", name="convolution1"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(48, 3, activation="relu", padding="same", name="convolution2"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(96, 3, activation="relu", padding="same", name="convolution3"),
        keras.layers.GlobalAveragePooling2D(name="mean"),
        keras.layers.Dense(len(CLASSES), activation="softmax", name="probabilities"),
    ]


sequential = keras.Sequential([keras.Input((SIZE, SIZE, 3), name="image"), *layers()])
sequential.summary(line_length=90)

# %% [markdown]
# ## Functional: a graph
#
# The same network again. Each layer is called with the output of another one. This form can branch, join, and have several inputs
# or outputs. Here it also returns the feature maps, which a Sequential network cannot.

# %%
image = keras.Input((SIZE, SIZE, 3), name="image")
tensor, features = image, None
for layer in layers():
    tensor = layer(tensor)
    features = tensor if layer.name == "convolution1" else features
functional = keras.Model(image, tensor, name="functional")
looking_inside = keras.Model(image, features)  # shares its weights

functional.set_weights(sequential.get_weights())
difference = np.abs(functional.predict(test_x[:8], verbose=0) - sequential.predict(test_x[:8], verbose=0)).max()
print(f"the largest difference of their predictions: {difference:.1e}")

# %% [markdown]
# ## Train
#
# *Cross-entropy* is the loss: it is small if the true class gets a high probability. *Adam* changes the weights a little after
# every batch of 32 photos, in the direction that lowers the loss.

# %%
functional.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = functional.fit(
    train_x, train_y, validation_data=(validation_x, validation_y), epochs=EPOCHS, batch_size=32, verbose=2
)
course.plot_curves({"first network": history.history})

# %% [markdown]
# ## Test: the easy photos, and the hard ones


# %%
def count_right(photos: list[course.CoursePhoto]) -> tuple[int, int]:
    pixels, numbers = course.arrays(photos, SIZE, CLASSES)
    right = functional.predict(pixels, verbose=0).argmax(axis=1) == numbers
    return int(right.sum()), len(right)


hard_photos = course.read_photos("test", HARD)
course.plot_shares(
    {
        "guessing": (round(len(hard_photos) / len(CLASSES)), len(hard_photos)),
        f"{EASY} test": count_right(test_photos),
        f"{HARD} test": count_right(hard_photos),
    },
    "The first network, with 95 % intervals",
)

# %% [markdown]
# The black line is the 95 % interval. With few photos it is wide: a difference inside it means nothing.
#
# On the workshop's photos such a network was right on 94 % (93 to 95) of 2,592 turntable photos and on 37 % (25 to 51) of 51 shop
# photos. It learned *this apricot on this turntable*, not apricots.

# %% [markdown]
# ## What does it see?
#
# The first convolution has 24 kernels. Each makes one picture, its *feature map*: light where its pattern is.

# %%
number = int(np.flatnonzero(test_y == test_y[len(test_y) // 2])[0])
maps = looking_inside.predict(test_x[number : number + 1], verbose=0)[0]
strongest = maps.mean(axis=(0, 1)).argsort()[::-1][:7]
titles = [CLASSES[test_y[number]], *(f"kernel {kernel}" for kernel in strongest)]
course.show([test_x[number], *(maps[:, :, kernel] for kernel in strongest)], titles)

# %% [markdown]
# ## One prediction

# %%
probabilities = functional.predict(test_x[number : number + 1], verbose=0)[0]
best = probabilities.argsort()[::-1][:5]
figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
axis.barh([CLASSES[place] for place in best], probabilities[best])
axis.invert_yaxis()
axis.set(xlim=(0, 1), xlabel="probability", title=f"a photo of {CLASSES[test_y[number]]}")
plt.show()

# %% [markdown]
# ## Exercise
#
# 1. Change `activation="softmax"` of the last layer to `"sigmoid"` and train again. Do the probabilities still add up to 1?
# 2. Replace `GlobalAveragePooling2D` by `Flatten`. How many weights are there now? Does the shop result change beyond its interval?

# %%
print("sum of the probabilities:", functional.predict(test_x[:3], verbose=0).sum(axis=1))
