# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 Start here
#
# **Where Recurrent Networks Begin** is a book of labs about one question: what happens at the very start of a recurrent
# network, and how much of the rest does it decide? Here you check your machine and move the first slider.
#
# In this chapter:
#
# - does this machine run the book, and how fast?
# - what does a single slider already show?
# - how does a chapter work, and which one answers your question?
#
# Two minutes to read; 10 seconds to run on two CPU cores; no GPU needed.

# %%
import teachkit as tk

tk.environment_report()

# %% [markdown]
# The last line compares this machine with the two-core machine on which the chapters were timed. The single
# networks that chapters 04 to 06 train use a GPU where there is one; nothing here needs it. Everything works offline.
#
# ## The first slider
#
# A recurrent network uses the same weight matrix `W_hh` at every step, so on its way back through time the gradient is multiplied by it
# again and again. An *eigenvalue* says by how much a matrix stretches one of its own directions each time it is used; complex ones also rotate, and come in
# mirrored pairs. `rho`, the *spectral radius*, is the largest absolute eigenvalue: the most that repeated use stretches anything in the long run.
#
# **Predict.** The network below is linear and has 64 units. If `rho` is 0.9, how much of the gradient is left after 50 steps: about 90 %,
# 10 % or less than 1 %? And with `rho = 1.1`? Then run the cell and **move** the slider.

# %%
tk.labs.spectral_radius(rho=1.0, activation="linear", seq_len=50, show=["rho"])

# %% [markdown]
# **Explain.** Below 1 the gradient vanishes, above 1 it explodes, and the step from the one to the other is small: $0.9^{50}$ is 0.005
# and $1.1^{50}$ is 117. That is the dashed line; the true gradient lies a few times lower, because only part of it points along the direction that is stretched most.
# The dotted line is a bound that no gradient can pass (chapter 04). The sentence under the picture says in words what your setting means; the line below it recreates the
# lab. (In the legend the slope of the activation, $\gamma$, is 1 here, and $\sigma_{max}$ gives the bound.) The arrow keys move a slider by one small step. *Reset* goes back, *Save* writes the picture and its numbers. Other labs also have *Train now*, which trains the very network that you set.
#
# ## Exercise: halve it
#
# *One minute.* In an exercise you replace the `...` and run the cell and the check below it. Nothing breaks if you leave it open.
#
# Which `rho` makes the **dashed** line, $\rho^k$, fall to exactly one half after 50 steps?

# %% tags=["exercise", "half_after_50"]
rho = ...

# %%
tk.check.half_after_50(rho)

# %% [markdown]
# <details><summary>Hint 1</summary>After 50 steps the line was multiplied by rho fifty times.</details>
# <details><summary>Hint 2</summary>Solve rho^50 = 0.5.</details>
# <details><summary>Solution</summary>
#
# ```python
# rho = 0.5 ** (1 / 50)  # 0.986
# ```
#
# </details>
#
# ## How a chapter works
#
# **Predict** before you look; **move** a slider; read the short **explanation**; see what real **training** over many seeds says; **check**
# yourself in an exercise. Claims from papers and from the web get a verdict: *holds*, *holds only if*, or *does not hold here*, with the numbers.
#
# ## The map
#
# | chapter | the question it answers |
# |---|---|
# | **00 Start here** | Does my machine run it, and what does one slider show? |
# | [01 Framework defaults](01_framework_defaults.ipynb) | How are weights and states initialised by default in PyTorch and Keras? |
# | [02 Weight initialization](02_weight_initialization.ipynb) | Xavier, He, orthogonal, identity, chrono: which fits, and what does it change? |
# | [03 Initial states](03_initial_states.ipynb) | Should the initial state be zero, noisy, learned, adaptive or carried over? |
# | [04 Exploding gradients](04_exploding_gradients.ipynb) | Why do gradients explode or vanish, and what have eigenvalues to do with it? |
# | [05 Gradient clipping](05_gradient_clipping.ipynb) | What should be clipped, when, and at which threshold? |
# | [06 Forecasting](06_forecasting.ipynb) | Put together on a real series: which of these choices paid off? |
#
# ## What you saw
#
# - This machine runs the book; the table above says how fast.
# - One slider shows the core of the matter: in a linear network 10 % below or above 1 decides between a gradient that vanishes and one that explodes; chapter 04 says what is left of that in yours.
# - Chapters alternate between predicting, moving, explaining, training and checking.
#
# Every symbol and term stands in the [glossary](../docs/glossary.md), and what to do when something does not work on the page
# [troubleshooting](../docs/troubleshooting.md): in the folder `docs` of the project.
#
# Next: [01 Framework defaults](01_framework_defaults.ipynb)
