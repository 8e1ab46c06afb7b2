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
# # 1 · Look at the photos
#
# Before you train anything, look at what the network will see. Most surprises of a model are surprises of its data.
#
# You learn
#
# - what a photo is for a program: an array of numbers;
# - how many photos each class has, and from where;
# - why the place where photos were taken matters more than their number.
#
# Run the cells one after the other with Shift+Enter. The photos are those of the last `make demo`.

# %%
import io
from itertools import pairwise

import course
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

print("dataset:", course.dataset_folder().name)
EASY, HARD = course.sources()
print("sources:", EASY, "and", HARD)

# %% [markdown]
# ## Some photos of each class
#
# The easy photos show one specimen of each class on a turntable, on white. The hard ones were taken in a shop. (Your own photos,
# or drawn ones, may have one source only: then both are the same.)

# %%
easy = course.read_photos("train", EASY, per_class=1)
course.show([Image.open(io.BytesIO(photo.body)) for photo in easy], [photo.label for photo in easy])

# %%
hard = course.read_photos("train", HARD, per_class=1)
course.show(
    [Image.open(io.BytesIO(photo.body)) for photo in hard], [photo.label for photo in hard], columns=6, size=1.9
)

# %% [markdown]
# **Question.** Which of these differences would confuse a program that never saw a fruit: the background, the light, the number
# of fruits, the price tag? And which turntable photo has a colour that its fruit never has?

# %% [markdown]
# ## A photo is an array
#
# A colour photo has a height, a width and three channels: red, green, blue. Each value is a whole number from 0 (dark) to 255
# (light). The network gets nothing else: no outline, no object, no name.

# %%
photo = hard[0]
pixels = np.asarray(Image.open(io.BytesIO(photo.body)).convert("RGB"))
print(
    f"{photo.label}: shape {pixels.shape}, type {pixels.dtype}, {pixels.size:,} numbers from {len(photo.body):,} bytes of JPEG"
)
print("the top left pixel, as red, green, blue:", pixels[0, 0])
course.show([pixels, *np.moveaxis(pixels, 2, 0)], [photo.label, "red", "green", "blue"], size=2.2, fit=False)

# %% [markdown]
# ## How many photos?
#
# A class with few photos is learned badly. A class without test photos cannot be judged at all: the workshop's own data has a
# class without any test photo, and its report did not show it.

# %%
everything = {
    (split, source): course.read_photos(split, source)
    for split in ("train", "test")
    for source in dict.fromkeys((EASY, HARD))
}
figure, axes = plt.subplots(1, len(everything), figsize=(11, 4.2), sharey=True, layout="constrained")
for axis, ((split, source), photos) in zip(axes, everything.items(), strict=True):
    counts = [sum(photo.label == label for photo in photos) for label in course.classes()]
    bars = axis.barh(course.classes(), counts)
    axis.bar_label(bars, padding=2, fontsize=8)
    axis.set(title=f"{split}, {source}: {len(photos)}", xlabel="photos")
    axis.margins(x=0.2)
axes[0].invert_yaxis()
plt.show()

# %% [markdown]
# ## Neighbours on the turntable are near-copies
#
# The number in the file's name is the position of the turntable. Look at four positions in a row: only a few pixels change.

# %%
label = course.classes()[0]
frames = {int(photo.path.rsplit("/", 1)[-1].split("_")[0]): photo for photo in course.read_photos("train", EASY, only=[label])
          if photo.path.rsplit("/", 1)[-1].split("_")[0].isdigit()}  # fmt: skip
row = sorted(frames)[:4]
thumbnails = [
    np.asarray(Image.open(io.BytesIO(frames[frame].body)).convert("RGB").resize((50, 50)), float) for frame in row
]
differences = [np.abs(before - after).mean() for before, after in pairwise(thumbnails)]
course.show(
    [picture.astype(np.uint8) for picture in thumbnails], [f"{label}, position {frame}" for frame in row], size=2.2
)
print("mean difference to the next one, of 255 levels:", ", ".join(f"{difference:.1f}" for difference in differences))

# %% [markdown]
# So photos must not be dealt at random to training and test: nearly the same picture would be on both sides, and the test would
# only measure memory. In this dataset a whole arc of the rotation is the test. The shop photos of training and test come from
# different visits.
#
# **Question.** The turntable's test photos still show *the same fruit* as its training photos. What does a result of 99 % on
# them say about a fruit from another tree?

# %% [markdown]
# ## The mean colour knows a lot
#
# Reduce each photo to one number for red and one for green: the mean of its middle.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
for axis, source in zip(axes, (EASY, HARD), strict=True):
    for label in [photo.label for photo in hard][:6]:
        photos = course.read_photos("train", source, per_class=25, only=[label])
        middles = [
            np.asarray(Image.open(io.BytesIO(photo.body)).convert("RGB").resize((30, 30)))[10:20, 10:20]
            for photo in photos
        ]
        colours = np.array([middle.mean(axis=(0, 1)) for middle in middles]).reshape(-1, 3)
        axis.scatter(colours[:, 0], colours[:, 1], s=18, label=label)
    axis.set(title=source, xlabel="mean red of the middle", ylabel="mean green of the middle")
    axis.grid(alpha=0.3)
axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# On the turntable each class is a cloud of its own. In the shop the clouds overlap: the colour alone is not enough there.

# %% [markdown]
# ## Exercise
#
# Find the darkest photo of the shop, and show it beside the lightest one. Start with this cell. Would you recognise both?

# %%
brightness = [np.asarray(Image.open(io.BytesIO(photo.body)).convert("L")).mean() for photo in everything["train", HARD]]
print(f"{len(brightness)} photos, mean brightness from {min(brightness):.0f} to {max(brightness):.0f}")
# your code: np.argmin and np.argmax find the positions
