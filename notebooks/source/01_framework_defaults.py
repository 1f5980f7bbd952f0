# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 Framework defaults
#
# **How are the weights and states of an LSTM initialised by default in PyTorch and TensorFlow/Keras, and how do you set them yourself?** You will take new
# layers out of their boxes, measure them, and see which of them can learn at all to remember one bit for 50 steps.
#
# In this chapter:
#
# - what six frameworks put into a new LSTM: **weights**, **biases** and **states**, measured and compared with their rules;
# - what difference that makes to the **gradient** and to **training**;
# - how to **set it all yourself**, and how to carry weights from one framework to another.
#
# 25 minutes to read; under a minute to run on two CPU cores; no GPU needed.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

import teachkit as tk

tk.seed_everything(0)
tk.plots.use_style()
# %% [markdown]
# ## 1. Open the box
#
# [People ask](https://stackoverflow.com/questions/49223976/) how the weights and states of an LSTM are initialised by default. There is no single answer: each framework
# has its own.
#
# An LSTM has four *gates*, and each has a matrix `W_ih` for the input, a matrix `W_hh` for the previous state and a bias. Frameworks stack the four matrices into one,
# in different orders. Here they all have the same names: input, forget, cell, output.
#
# **Predict.** A PyTorch LSTM with 64 units: between which bounds do the numbers of `W_hh` lie? What is the forget bias? Write both down, then look.

# %%
tk.labs.fresh_from_the_box()

# %% [markdown]
# Left: a histogram of the weights, with the density that the rule promises. Middle: the eigenvalues of this gate's `W_hh`; green is the circle of radius 1, dashed the circle that theory promises for this rule. Right: what was measured beside what theory
# says, and the rule in words. PyTorch's and Keras's weights are drawn by their own layers; the other frameworks' by rule.
#
# **Move**, one at a time, and *Reset* in between:
#
# 1. `framework`: torch, keras, flax. PyTorch's histogram is flat, the others are bells; yet PyTorch's and Keras's eigenvalues fill similar disks, while Flax's stand on the circle of radius 1.
# 2. Put `weights` on bias, and go through the frameworks. Which of them have a forget bias?
# 3. Drag `hidden_size` from 2 to 256. The bound shrinks like $1/\sqrt{H}$. From some 32 units on the eigenvalues keep filling the same disk; below that, luck decides.
# 4. `cell`: gru. Now `gate` has other names, and "remember" has another place (section 3).
#
# ### Exercise 1: PyTorch's bound
#
# *One minute.* `torch.nn.LSTM(input_size=10, hidden_size=64)` draws every weight and every bias from the uniform distribution between $-a$ and $a$. What is $a$?

# %% tags=["exercise", "default_bound"]
a = ...

# %%
tk.check.default_bound(a)

# %% [markdown]
# <details><summary>Hint 1</summary>Only one of the two sizes matters. Drag input_size and hidden_size in the lab.</details>
# <details><summary>Hint 2</summary>The bound is one over a square root.</details>
# <details><summary>Solution</summary>
#
# ```python
# a = 1 / 64**0.5  # 0.125
# ```
#
# </details>

# %% [markdown]
# ## 2. And the state?
#
# **Predict.** The *state* that an LSTM starts with, `h0` and `c0`: is it random, zero, or learned?

# %%
lstm, x = torch.nn.LSTM(3, 8), torch.randn(5, 2, 3)
zeros = torch.zeros(1, 2, 8)
same = torch.equal(lstm(x)[0], lstm(x, (zeros, zeros))[0])
print(f"without a state and with zeros, the outputs are equal bit for bit: {same}")

# %% [markdown]
# Zero, wherever there is a default. (The cells of Flax, Haiku, Equinox and TensorFlow 1 must be given a state; the first two and the last have a function that makes zeros.) So code that makes `h0` and `c0` of zeros and passes them to `nn.LSTM` does nothing.
#
# PyTorch, Keras, Haiku and Equinox expect the pair as `(h, c)`, TensorFlow 1 and Flax as `(c, h)`. Both have the same shape, so the wrong order raises no error.
#
# Whether zero is a good choice is the question of chapter 03.

# %% [markdown]
# ## 3. Six frameworks side by side

# %%
tk.frameworks.rules("lstm")

# %% [markdown]
# `H` is `hidden_size`, `I` is `input_size`; U is the uniform distribution. Glorot (or Xavier) uniform has the bound $\sqrt{6/(n_{in}+n_{out})}$. Now the same, measured on new layers with
# 64 inputs and 64 units, for the forget gate:

# %%
measured = {}
for framework in tk.frameworks.FRAMEWORKS:
    drawn = tk.frameworks.draw(framework, "lstm", input_size=64, hidden_size=64)
    by_gate = tk.frameworks.summary(drawn).set_index("gate")
    measured[f"{framework} ({drawn.drawn_by})"] = by_gate.loc["forget"].astype(float)
pd.DataFrame(measured).T.round(3)

# %% [markdown]
# (The *spectral radius* is the largest absolute eigenvalue of `W_hh`, `sigma_max` its largest singular value: the most by which it can stretch a vector. Chapter 04 tells what they decide.)
#
# Six surprises, all of them in these two tables.
#
# **PyTorch has no forget bias, and two bias vectors.** It adds `bias_ih` and `bias_hh`, "for CuDNN compatibility". Both are random, so the effective forget bias has mean 0 and a standard
# deviation of $\sqrt{2/(3H)}$, here 0.10. Users have asked for other weights and for a forget bias for years ([issue 9221](https://github.com/pytorch/pytorch/issues/9221),
# [issue 20102](https://github.com/pytorch/pytorch/issues/20102)).
#
# **Keras's orthogonal matrix is not orthogonal where it counts.** It is orthogonal as a whole, $H \times 4H$. Each gate gets a square piece of it, and a piece of an orthogonal matrix
# shrinks: its eigenvalues reach only to about 0.5, which is $\sqrt{1/4}$. Flax makes each gate orthogonal by itself: there the radius is exactly 1.
#
# **TensorFlow 1 and Haiku hide their forget bias.** The bias variable of `BasicLSTMCell` is zero; the 1 is added inside the call. Whoever copies the variables into PyTorch loses it.
#
# **TensorFlow 1's Glorot bound can be PyTorch's.** It is $\sqrt{6/(I+5H)}$, because one matrix maps $I+H$ numbers to $4H$. For $I = H$ that is exactly PyTorch's $1/\sqrt{H}$. For one input it is 1.09 times as large.
#
# **A bound of $1/\sqrt{H}$ gives a spectral radius of 0.577.** Uniform numbers up to $a$ have a standard deviation of $a/\sqrt{3}$. The eigenvalues of a large matrix of independent entries fill a circle of radius
# std $\cdot\sqrt{H}$ (the *circular law*), and that is $1/\sqrt{3}$. Real matrices are a little above: about 0.62 with 64 units, 0.60 with 256.
#
# **Haiku's truncated normal loses 12 %.** It cuts a normal distribution at two standard deviations and does not make up for it, so what is left has 0.88 of the standard deviation that was asked for. (With few inputs Haiku's recurrent matrices are large all the same; only Flax's are larger.)
#
# And one more: **GRUs have a trap of their own.** The update gate `z` decides whether a GRU keeps its state. In PyTorch, Keras, TensorFlow 1, Flax and Equinox `z = 1` keeps it; in Haiku
# `z = 1` replaces it. So a bias that remembers has the opposite sign. (`tk.frameworks.rules("gru")` has that table.)

# %% [markdown]
# ## 4. What reaches the first step?
#
# Each row of these tables is a *preset*, one complete way to start. Here are five of them, and four ways to mend PyTorch's: its forget bias set to 1 or 2; to 1 with all other biases at 0; and *chrono* (chapter 02), which gives each unit a forget bias of its own, so that their memories reach between 2 and 50 steps,
# its negative as the input bias, and 0 elsewhere. (Equinox differs from PyTorch by one bias vector only and is left out.)
#
# **Predict.** Put these layers to work on 50 steps of random input. Of the gradient that arrives at the last cell state `c`, how much is left at the first? Which preset keeps most?

# %%
gradients = tk.experiments.preset_gradients()
figure, ax = plt.subplots(figsize=(9.2, 3.8))
tk.plots.decades_by_variant(
    ax, gradients, "growth", "gradient to c after 50 steps back (1: nothing lost)"
)
ax.set_title("LSTM, 64 units, 1 input; a point is one seed, a bar their geometric mean")
tk.show(
    "What is left of the gradient to c after 50 steps, by preset, on a logarithmic axis: 5e-11 "
    "with PyTorch's and 4e-10 with Flax's, far more with every forget bias of 1, and most with a "
    "forget bias of 2 and with chrono."
)

# %% [markdown]
# Nearly ten decades lie between the presets. PyTorch and Flax start with forget gates near 1/2. Alone these would leave $2^{-50}$, 9e-16; with what travels through `h` some 5e-11 and 4e-10 are left. A forget bias of 1 is worth more than six
# decades, a bias of 2 more than nine.
#
# Chapter 04 explains why the forget bias counts so much more than the matrices.

# %% [markdown]
# ## 5. Who learns?
#
# **The task.** *Recall first*: the first input is -1 or 1, then come 49 steps of noise with standard deviation 0.1; at the end the network says which it was. Chance is 50 %.
#
# **The experiment.** 16 seeds a preset, 32 units, batches of 32, Adam at three learning rates, gradients clipped at norm 1, 500 updates. Each seed fixes the batches, the same for every preset.
#
# **Predict.** Which presets solve it? Is a forget bias of 1 enough?

# %%
recall = tk.load_results("recall")
figure, axes = plt.subplots(
    3, 3, figsize=(9.2, 5.4), sharex=True, sharey=True, layout="constrained"
)
tk.plots.every_run(axes, recall.query("lr == 0.001"), "score", reached=0.99, chance=0.5)
figure.supxlabel("training step", fontsize=10)
figure.supylabel("accuracy on held-out sequences", fontsize=10)
tk.show(
    "Accuracy of 16 seeds over 500 updates, one panel a preset. With PyTorch's and Flax's no seed "
    "leaves chance, with a forget bias of 1 some or most do, and with a forget bias of 2, TF1, "
    "Haiku and chrono all 16 reach 99 %."
)

# %% [markdown]
# Adam's usual rate, 0.001. Each line is one seed; green ends at 99 % or better. And how many of 16 do so at each rate:

# %%
figure, ax = plt.subplots(figsize=(5.6, 3.6))
tk.plots.annotated_heatmap(ax, tk.experiments.recalled(recall), high=16, form=".0f")
ax.set(xlabel="learning rate", ylabel="")
tk.show(
    "How many of 16 seeds learn, presets by learning rates: none with PyTorch's and Flax's, all "
    "with a forget bias of 2, Haiku and chrono. Where a forget bias of 1 leaves some behind, the "
    "highest rate leaves most."
)

# %% [markdown]
# **What learns.** From PyTorch's and Flax's defaults no seed learns anything in 500 updates, at no rate: their forget bias is 0. With a forget bias of 2, with chrono and with Haiku's default all 16 learn, at every rate.
#
# **Is a forget bias of 1 enough?** That depends. PyTorch's *other* biases are random, too: with them 0 to 6 of 16 learn. Set them to 0, with the same matrices and nearly the same gradient, and 9 to 16 do. Keras, TensorFlow 1 and Haiku all have a forget bias of 1 and no
# other bias: 2 to 13, 13 to 16, and 16. The larger their recurrent matrices, the more learn (here their standard deviations are 0.09, 0.11 and 0.15). And each of these learns worse at the highest rate, except where all learn anyway.
#
# **Verdict on "add 1 to the forget gate of every LSTM"** (Jozefowicz, Zaremba and Sutskever, 2015, who speak of 1 or 2): never worse than 0, but not safe for 50 steps. 2 was. For 25 steps 1 does, with the other biases at 0 (chapter 02).
#
# **Train now.** The same in one call, for two presets and four seeds, in some seconds. Change the presets, the length or the learning rate and run the cell again: `{"initializer": "keras"}`, for instance, at rates of 0.003 and 0.001. (`low` and `high` are the ends
# of a 95 % interval of the share; with four seeds it is wide.)

# %%
presets = {
    "PyTorch": {"initializer": "torch"},
    "PyTorch, forget bias 2": {"initializer": "torch", "forget_bias": 2.0},
}
task = tk.RecallFirst(seq_len=50)
table = tk.compare(task, presets, seeds=4, steps=200, lr=0.001, clipper=tk.Clipper("norm", 1.0))
tk.statistics.reached_share(table, 0.99)

# %% [markdown]
# ## 6. Set it yourself: PyTorch
#
# `tk.initialize(lstm, "keras")` makes a PyTorch layer start as a Keras layer does, and likewise "tf1", "flax", "haiku" and "equinox"; all schemes of chapter 02 work the same way. By hand it takes a few lines. `tk.gates` gives every gate
# by its name, so that no order can be mistaken; what it returns are *views*: writing to them sets the weights.

# %%
lstm = torch.nn.LSTM(8, 32, num_layers=2)
for name, gate in tk.gates(lstm).items():
    if name.startswith("weight_hh"):
        for W in gate.values():
            torch.nn.init.orthogonal_(W)
rho = tk.spectral_radius(tk.gates(lstm)["weight_hh_l1"]["forget"])
print(f"spectral radius of the forget gate: {rho:.2f}")

# %% [markdown]
# ### Exercise 2: forget like Keras
#
# *Five minutes.* Give a PyTorch LSTM the biases of a Keras LSTM, in place, in every layer: effectively 1 for the forget gate and 0 for all others. Mind that there are two bias vectors.


# %% tags=["exercise", "forget_like_keras"]
def forget_like_keras(lstm):
    """Set all biases of an nn.LSTM to those of a new Keras LSTM, in place."""
    ...


# %%
tk.check.forget_like_keras(forget_like_keras)

# %% [markdown]
# <details><summary>Hint 1</summary>The two vectors are added: what must one of them be, if the other holds everything?</details>
# <details><summary>Hint 2</summary>The forget gate is the second quarter, <code>[H : 2 * H]</code>. Work inside <code>torch.no_grad()</code>.</details>
# <details><summary>Solution</summary>
#
# ```python
# def forget_like_keras(lstm):
#     H = lstm.hidden_size
#     with torch.no_grad():
#         for name, parameter in lstm.named_parameters():
#             if name.startswith("bias"):
#                 parameter.zero_()
#             if name.startswith("bias_ih"):
#                 parameter[H : 2 * H] = 1.0
# ```
#
# </details>

# %% [markdown]
# ## 7. Set it yourself: Keras, and from one to the other
#
# In Keras every choice is an argument: `kernel_initializer`, `recurrent_initializer`, `bias_initializer` and `unit_forget_bias`. (In TensorFlow 1 `BasicLSTMCell` takes only `forget_bias`; `LSTMCell` has `initializer=`.)
#
# Weights can move. Keras's matrices are PyTorch's, transposed, with the same gate order for LSTMs and another one for GRUs. `tk.to_keras` and `tk.from_keras` do that and the biases:

# %%
keras = tk.frameworks.load_keras()
layer = keras.layers.LSTM(16, return_sequences=True)
x = torch.randn(4, 30, 8)  # batch first, as Keras has it
expected = torch.as_tensor(keras.ops.convert_to_numpy(layer(x.numpy())))
lstm = tk.from_keras(torch.nn.LSTM(8, 16, batch_first=True), [layer.get_weights()])
print(f"largest difference of the outputs: {(lstm(x)[0] - expected).abs().max():.1e}")
tk.labs.fresh_from_the_box(model=lstm)

# %% [markdown]
# ### Exercise 3: a checkpoint of 2016
#
# *Ten minutes.* You found the weights of a TensorFlow 1 `BasicLSTMCell`: a `kernel` of shape (I + H, 4H), input rows first, and a `bias` of shape (4H,). Its gates stand in the order input, cell, forget, output, and its call adds 1 to the forget gate.
# Turn them into the weights of a `torch.nn.LSTMCell`.


# %% tags=["exercise", "from_tf1"]
def from_tf1(kernel, bias, input_size):
    """Return weight_ih (4H, I), weight_hh (4H, H) and bias_ih (4H,) for nn.LSTMCell; bias_hh is 0."""
    return ...


# %%
tk.check.from_tf1(from_tf1)

# %% [markdown]
# <details><summary>Hint 1</summary>First cut the columns into four gates (<code>kernel.chunk(4, dim=1)</code>), then put them in PyTorch's order.</details>
# <details><summary>Hint 2</summary>PyTorch's matrices are transposed: rows are outputs. And the 1 must go into the bias.</details>
# <details><summary>Solution</summary>
#
# ```python
# def from_tf1(kernel, bias, input_size):
#     i, c, f, o = kernel.chunk(4, dim=1)
#     rows = torch.cat([i, f, c, o], dim=1).T
#     b_i, b_c, b_f, b_o = bias.chunk(4)
#     return rows[:, :input_size], rows[:, input_size:], torch.cat([b_i, b_f + 1, b_c, b_o])
# ```
#
# </details>

# %% [markdown]
# ## 8. What the answer says, and what holds
#
# The [question](https://stackoverflow.com/questions/49223976/) is about TensorFlow 1's `BasicLSTMCell`, and so are its answers. Their statements, one by one:
#
# | statement | verdict |
# |---|---|
# | the weights are Glorot uniform by default | holds for TensorFlow 1 and for Keras's input weights; PyTorch's are U(±1/√H) |
# | (nothing about biases) | they matter most: zero, and a forget bias of 1 that is added in the call |
# | you cannot initialise a single cell | holds for the weights of `BasicLSTMCell`, which takes only `forget_bias`; not for `LSTMCell(initializer=...)` and `GRUCell(kernel_initializer=..., bias_initializer=...)` |
# | the state is set by `initial_state=` of `dynamic_rnn` or `static_rnn`, and zero by default | holds |
# | a zero state is good practice where few outputs feel it | holds: at the best learning rates no other start did clearly better on four tasks (chapter 03) |
# | a zero state in each batch can lead to overfitting, the more the more often states are reset | not shown (chapter 03) |
# | a noisy initial state lowers the loss of the first step | does not hold at the best learning rates (chapter 03) |

# %% [markdown]
# ## Recipe
#
# A PyTorch LSTM that can remember from the start, without this package:
#
# ```python
# lstm = torch.nn.LSTM(input_size, hidden_size)
# H = hidden_size
# with torch.no_grad():
#     for name, parameter in lstm.named_parameters():
#         if name.startswith("bias"):
#             parameter.zero_()  # two vectors that are added
#         if name.startswith("bias_ih"):
#             parameter[H : 2 * H] = 2.0  # up to some 50 steps; beyond, chrono (chapter 02)
# ```
#
# The same in Keras:
#
# ```python
# import numpy as np
# import keras
#
#
# @keras.saving.register_keras_serializable()  # so that a saved model can be loaded
# def forget_two(shape, dtype=None):
#     bias = np.zeros(shape, dtype)
#     bias[shape[0] // 4 : shape[0] // 2] = 2.0
#     return bias
#
#
# layer = keras.layers.LSTM(hidden_size, bias_initializer=forget_two, unit_forget_bias=False)
# ```
#
# For a GRU it is the update gate, `z`. PyTorch's order is reset, update, new, and a *positive* bias keeps the state:
#
# ```python
# gru = torch.nn.GRU(input_size, hidden_size)
# with torch.no_grad():
#     gru.bias_ih_l0.zero_()
#     gru.bias_hh_l0.zero_()
#     gru.bias_ih_l0[hidden_size : 2 * hidden_size] = 2.0
# ```

# %% [markdown]
# ## What you saw
#
# - **Weights, biases, states**: PyTorch draws everything, biases too, from U(±1/√H); Keras takes Glorot, an orthogonal matrix and a forget bias of 1. States start at zero.
# - The **forget bias** comes first: at 0 no seed of 16 learned to recall one bit after 50 steps, at 1 the matrices, the other biases and the learning rate decide (0 to 16), at 2 all learned.
# - **Setting it** takes a few lines in PyTorch, an argument in Keras; mind the two bias vectors, the gate orders and the order of the states.
#
# **Sources.** The documentation and source code of [torch.nn.LSTM](https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html), [keras.layers.LSTM](https://keras.io/api/layers/recurrent_layers/lstm/),
# TensorFlow 1 (`rnn_cell_impl.py`), Flax (`flax.linen`), Haiku and Equinox; `tk.frameworks.rule("keras", "lstm").source` names the file. X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward
# neural networks, AISTATS 2010. R. Jozefowicz, W. Zaremba, I. Sutskever, An empirical exploration of recurrent network architectures, ICML 2015. C. Tallec, Y. Ollivier, [Can recurrent neural
# networks warp time?](https://arxiv.org/abs/1804.11188), ICLR 2018. The claims under test: [Stack Overflow 49223976](https://stackoverflow.com/questions/49223976/).
#
# Start: [00 Start here](00_start_here.ipynb) · Next: [02 Weight initialization](02_weight_initialization.ipynb)
