# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 Weight initialization
#
# **Xavier, He, orthogonal, Kaiming, identity, chrono, pre-trained: which one fits which activation, and what does it change?** You will send signals through
# deep and recurrent networks, see them die, hold or explode, and check each recommendation by training.
#
# In this chapter:
#
# - where the **formulas** of Xavier and He come from, which activation each is for, and the trap in He's;
# - why a **recurrent** matrix needs another argument: orthogonal, identity, and what "orthogonal" means for the four gates of an LSTM;
# - what **training** says: schemes by learning rate, the forget bias by horizon, and pre-trained weights.
#
# 35 minutes to read; under a minute to run on two CPU cores; no GPU needed.

# %%
import matplotlib.pyplot as plt
import torch

import teachkit as tk

tk.seed_everything(0)
tk.plots.use_style()
# %% [markdown]
# ## 1. Keep the signal at its size
#
# One layer computes $y_i = \sum_j W_{ij} x_j$, a sum of $n$ terms. If the weights are independent with mean 0 and variance $v$, the mean square of $y$ is $n\,v$ times the mean square of $x$. After 20 layers that
# factor stands to the power of 20. To keep a signal, choose $n\,v = 1$.
#
# The gradient travels through the transposed matrices, so for it $n$ is the number of *outputs*. **Xavier** (Glorot and Bengio, 2010) takes the mean of both: $v = 2/(n_{in}+n_{out})$. As a uniform distribution that is
# $U(\pm\sqrt{6/(n_{in}+n_{out})})$, since $U(\pm a)$ has the variance $a^2/3$.
#
# That is for an activation with slope 1. **ReLU** sets half of its inputs to zero, and with them half of the mean square. **He** (Kaiming He et al., 2015) makes up for it: $v = 2/n_{in}$.
#
# **Predict.** Twenty ReLU layers with Xavier weights: which share of the signal's mean square arrives?

# %%
tk.labs.signal(scheme="xavier_uniform", activation="relu")

# %% [markdown]
# Half at every layer: $2^{-20}$ is a millionth, in both directions. (All numbers in this section are mean squares, of networks with 128 units; the size itself is the root.)
#
# Left: the mean square of the signal (it travels to the right) and of the gradient (it travels to the left), layer by layer; dashed is what theory expects. Middle: the activations of the last layer. Right: the eigenvalues of a matrix.
#
# **Move**, one at a time, and *Reset* in between:
#
# 1. `scheme`: kaiming_normal. Now ReLU holds its signal; single networks wander by a factor of two or so.
# 2. `activation`: tanh, with xavier_uniform, then kaiming_normal. Xavier's signal fades slowly, because tanh squeezes everything a little: some 2 % is left after 20 layers. He's settles at a size where the squeezing balances the growth, near 0.3;
#    its gradient grows threefold.
# 3. `activation`: sigmoid. The signal seems to hold, but it is a constant: every unit says about 1/2. The slope is at most 1/4, and no scheme in the list makes up for that at gain 1: with Xavier less than 1e-24 of the gradient is left.
# 4. `activation`: linear, `scheme`: orthogonal. Exactly 1, in both directions, at any depth. Drag `gain` to see how narrow that edge is.
# 5. `scheme`: std = 2/H. See below.
#
# ### The trap in He's formula
#
# He's rule is often written as $W \sim N(0, 2/n)$. There $2/n$ is the *variance*. Many functions ask for the standard deviation, which is $\sqrt{2/n}$:

# %%
for scheme in ("kaiming_normal", "std = 2/H"):
    sent = tk.signal_through_depth(scheme, activation="relu", depth=20)
    print(f"{scheme:15} mean square after 20 ReLU layers: {sent.activations[-1]:.1e}")

# %% [markdown]
# Passing the variance as the standard deviation costs 36 decades. The opposite convention exists, too: in Pascanu, Mikolov and Bengio (2013), and in the documentation of `torch.nn.init.sparse_`, the second number of $N(0, 0.01)$ is the standard deviation.
#
# ### Exercise 1: He's standard deviation
#
# *One minute.* Which standard deviation does He's initialisation have for a ReLU layer with 256 inputs? Give three decimals.

# %% tags=["exercise", "he_std"]
std = ...

# %%
tk.check.he_std(std)

# %% [markdown]
# <details><summary>Hint 1</summary>The variance is 2/n.</details>
# <details><summary>Hint 2</summary>And the standard deviation is its root.</details>
# <details><summary>Solution</summary>
#
# ```python
# std = (2 / 256) ** 0.5  # 0.088
# ```
#
# </details>

# %% [markdown]
# ## 2. Time is not depth
#
# Xavier and He argue layer by layer, each with a *new* matrix. A recurrent network meets the *same* matrix at every step, and what was stretched in one direction is stretched there again. Chapter 04 follows the gradient through such
# a network; here it is the state.
#
# **Predict.** 50 steps of a linear network with Xavier's weights, no input: does the state hold, as it does in 50 layers?

# %%
tk.labs.signal(mode="time", scheme="xavier_uniform", activation="linear", depth=50)

# %% [markdown]
# What counts in the long run are the *eigenvalues* of the matrix, first of all the largest absolute one, the *spectral radius* `rho` (chapters 00 and 04): eventually each step multiplies the mean square by its square. A radius of 1.05 means 130 times more in 50 steps, one of 0.95
# 170 times less. Xavier's is near 1 for large matrices, and a little above for small ones. **Move** `seed`: the first twenty networks of the slider end between 0.2 and 2e7. Then:
#
# 1. `scheme`: uniform 1/sqrt(H), PyTorch's default, with a radius near 0.6. Less than 1e-18 is left.
# 2. `scheme`: orthogonal. All eigenvalues lie *on* the circle: the state keeps its size, at every step, for every seed. With `activation` tanh it fades, but slowly: to 0.01.
# 3. `scheme`: identity, `activation`: relu. The first step cuts off what is negative; from there on every state stays exactly as it is.
# 4. `scheme`: kaiming_normal, `activation`: relu. The *same* matrix multiplies the luck of one draw 50 times. Of the first twenty networks twelve lose more than 90 % and three grow more than tenfold; the ends are 6e-7 and 800.
#
# **Verdict on "He for ReLU":** holds for depth. In time it does not hold a signal: some networks lose it, others blow it up.
#
# **Verdict on "orthogonal initialisation keeps hidden states independent":** does not hold; an orthogonal matrix keeps their *norm* (and the angles between them).

# %% [markdown]
# ## 3. What is orthogonal in an LSTM?
#
# **Predict.** `torch.nn.init.orthogonal_(lstm.weight_hh_l0)` makes the stacked $4H \times H$ matrix orthogonal. Is the forget gate's $H \times H$ block orthogonal, too?

# %%
for fused in (True, False):
    lstm = tk.initialize(torch.nn.LSTM(128, 128), "orthogonal", fused=fused)
    W = tk.gates(lstm)["weight_hh_l0"]["forget"]
    stretch = tk.sigma_max(W)  # the most by which W stretches a vector
    print(f"fused={fused!s:5}  rho {tk.spectral_radius(W):.2f}  sigma_max {stretch:.2f}")

# %% [markdown]
# It is not: a block of the stacked matrix keeps no norm, and its spectral radius is about one half (chapter 01 showed the same for Keras's default). If you want orthogonal gates, make each gate orthogonal.
#
# Not all orthogonal matrices are drawn alike, either. The QR decomposition (an orthogonal $Q$ times a triangular $R$) of a Gaussian matrix gives an orthogonal $Q$, but its signs are an accident of the algorithm. A uniform draw ("Haar") needs them corrected. Two signs tell it: half of all determinants and half of all first entries should be negative.

# %%
A = torch.randn(4000, 4, 4)
Q, R = torch.linalg.qr(A)
signs = R.diagonal(dim1=-2, dim2=-1).sign()
draws = {"raw QR": Q, "U of an SVD": torch.linalg.svd(A)[0], "signs fixed": Q * signs[:, None]}
for name, W in draws.items():
    rotations = (torch.linalg.det(W) > 0).float().mean()
    print(
        f"{name:12} rotations: {rotations:6.1%}   first entry negative: {(W[:, 0, 0] < 0).float().mean():6.1%}"
    )

# %% [markdown]
# Half of all orthogonal matrices are rotations (determinant 1), the others contain a reflection. Raw QR of $4 \times 4$ matrices never gives a rotation. A NumPy sample that is passed around takes the $U$ of a singular value decomposition (SVD): better, and still not uniform. (It also fails for 1-D shapes, such as biases.)
# All three keep norms, which is what matters most. `torch.nn.init.orthogonal_` and Keras fix the signs.
#
# ### Exercise 2: orthogonal gates
#
# *Three minutes.* Make the recurrent matrix of each gate of a one-layer LSTM orthogonal, in place.


# %% tags=["exercise", "orthogonal_gates"]
def orthogonal_gates(lstm):
    """Make each gate's block of weight_hh_l0 orthogonal, in place."""
    ...


# %%
tk.check.orthogonal_gates(orthogonal_gates)

# %% [markdown]
# <details><summary>Hint 1</summary><code>tk.gates(lstm)["weight_hh_l0"]</code> holds a view of each block.</details>
# <details><summary>Hint 2</summary>Call <code>torch.nn.init.orthogonal_</code> for each one, so that each gets its own matrix.</details>
# <details><summary>Solution</summary>
#
# ```python
# def orthogonal_gates(lstm):
#     for W in tk.gates(lstm)["weight_hh_l0"].values():
#         torch.nn.init.orthogonal_(W)
# ```
#
# </details>

# %% [markdown]
# ## 4. Who learns? Schemes by learning rate
#
# **The experiment.** Plain recurrent networks with 32 units, Adam, clipping at norm 1, 16 seeds a cell. Two tasks: handwritten digits shown pixel by pixel (64 steps; 10 classes), and the *adding problem* (50 steps: add the two numbers that
# were marked). Seven recurrent matrices, all with the same input weights (Glorot) and no biases, and PyTorch's default as it is; five learning rates.
#
# **Predict.** Textbooks say: Xavier for tanh, He for ReLU. And Le, Jaitly and Hinton (2015) say: for ReLU, the identity. Which row will be darkest in which panel?

# %%
rates = tk.load_results("rates")
figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.7), sharey=True)
for ax, ((task, activation), runs) in zip(
    axes, rates.groupby(["task", "activation"], sort=False), strict=True
):
    means = runs.groupby(["scheme", "lr"])["score"].mean().unstack()
    tk.plots.annotated_heatmap(ax, means.loc[list(tk.experiments.SCHEMES)])
    ax.set(title=f"{task}, {activation}", xlabel="learning rate", ylabel="")
figure.tight_layout()
tk.show(
    "Mean scores of eight starts at five learning rates. On the digits the orthogonal matrix is "
    "best, with 0.83 (tanh) and 0.70 (ReLU); on the adding problem the identity is, with 0.96. At "
    "a rate of 0.03 all are behind their best."
)

# %% [markdown]
# A number is the mean of 16 seeds: accuracy on held-out digits, or the explained share of the variance ($R^2$) for the adding problem; dark is good. `uniform` is PyTorch's matrix, `std = 2/H` the trap of section 1, and `sparse` gives each unit 15 inputs and the matrix a
# spectral radius of 0.95, after Pascanu, Mikolov and Bengio (2013). Now each at its best rate, against PyTorch's matrix, seed by seed. (The rate is chosen on the same seeds and sequences that give the score, which flatters all of them a little.)

# %%
best = tk.experiments.at_best_rate(rates, baseline="uniform").query("scheme != 'uniform'")
best = best.sort_values("scheme", key=lambda names: names.map(list(tk.experiments.SCHEMES).index))
figure, axes = plt.subplots(1, 3, figsize=(9.6, 2.9), sharey=True)
for ax, ((task, activation), rows) in zip(
    axes, best.groupby(["task", "activation"], sort=False), strict=True
):
    tk.plots.differences(ax, rows, "scheme", "R$^2$" if task == "adding" else "accuracy")
    ax.set_title(f"{task}, {activation}")
figure.suptitle(
    "gain over PyTorch's W_hh (uniform), each at its best learning rate, 95 % intervals",
    fontsize=11,
)
figure.tight_layout()
tk.show(
    "Gains over PyTorch's matrix, with 95 % intervals. Orthogonal gains on the digits with both "
    "activations, He's (kaiming_normal) gains nowhere; the identity loses on the digits and alone "
    "gains on the adding problem."
)

# %% [markdown]
# **Digits.** The orthogonal matrix is best with *both* activations: 0.83 with tanh and 0.70 with ReLU, 0.14 (95 % interval 0.09 to 0.18) and 0.07 (0.03 to 0.11) above PyTorch's. Half of the textbook's advice shows: with tanh, Xavier's matrix is 0.11 (0.03 to 0.19) ahead of He's; but with ReLU, He's matrix stays 0.13 *behind* Xavier's
# (0.06 to 0.19). Section 2 showed what may be the reason: its spectral radius is 1.41, and the same matrix comes back 64 times.
#
# **Adding.** The identity is best with ReLU: $R^2$ has a mean of 0.96 and is above 0.95 for 11 of 16 seeds, 0.14 (0.06 to 0.23) above PyTorch's matrix; the others cannot be told from that. On the digits the identity is *behind* PyTorch's matrix, with both activations.
#
# **What is not the matrix.** On the adding problem PyTorch's default as a whole reaches 0.20, its matrix with Glorot's input weights and no biases 0.82. So most of what a better start brings there does not come from `W_hh` at all.
#
# **Learning rate.** It counts as much, on the digits: with tanh, PyTorch's default gains 0.12 from 0.001, Adam's usual rate, to 0.003; all that the best matrix adds to the default is 0.15. At 0.03 little is left.
#
# **Verdict on "match the scheme to the activation: Xavier for tanh, He for ReLU":** holds for deep networks; for these recurrent ones half of it: on the digits Xavier's is ahead of He's with tanh, and with ReLU, too.
# **On "the identity with ReLU learns long memories"** (Le, Jaitly and Hinton, 2015): on the adding problem it is the best start, on the digits the worst. (50 and 64 steps, up to 800 updates, and input weights of our choice.)
#
# **Train now.** Four seeds of three schemes on the digits (here each with its own input weights). Change the activation, the rate or a scheme, and run it again.

# %%
schemes = {name: {"initializer": name} for name in ("torch", "kaiming_normal", "orthogonal")}
table = tk.compare(
    "digit pixels", schemes, seeds=4, steps=300, cell="rnn", nonlinearity="relu",
    clipper=tk.Clipper("norm", 1.0),
)  # fmt: skip
tk.statistics.select(table, "score").round(2)

# %% [markdown]
# ## 5. The forget bias, and how long it has to last
#
# An LSTM remembers through its forget gate, for about $1 + e^b$ steps (chapter 04). **chrono** (Tallec and Ollivier, 2018) gives each unit its own forget bias, $b_f = \ln u$ with $u$ uniform between 1 and $T_{max} - 1$, so that the horizons $1 + u$
# are spread evenly from 2 to $T_{max}$; and the input bias is $-b_f$.
#
# **The experiment.** Recall the first bit after $T$ steps of noise (chapter 01), 32 units, 300 updates at a rate of 0.003, 16 seeds a cell. PyTorch's matrices; all other biases are 0 (but chrono's input biases). *chrono(T)* knows the length of the task; *chrono(200)* does not.
#
# **Predict.** Which forget bias does it take for 10, 25, 50, 100 and 200 steps?

# %%
horizon = tk.load_results("horizon")
solved = horizon.assign(solved=horizon["score"] >= 0.99)
wide = solved.pivot_table(index="forget_bias", columns="seq_len", values="solved")
figure, ax = plt.subplots(figsize=(6.4, 3.2))
tk.plots.annotated_heatmap(ax, 16 * wide, high=16, form=".0f")
ax.set(title="solved, of 16 seeds", xlabel="steps to remember, T", ylabel="forget bias")
tk.show(
    "How many of 16 seeds solve it, forget biases by steps to remember: a staircase. A bias of 0 "
    "serves 10 steps, 1 serves 25, 2 serves 50; 5 comes close at every length, and both chronos "
    "solve all of them."
)

# %% [markdown]
# A staircase. A bias of 0 does for 10 steps, 1 for 25, 2 for 50: a network learns to reach several times beyond its horizons of 2, 3.7 and 8.4 steps. At 100 and 200 steps 2 and 3 still serve 11 to 15 of 16 seeds, 5 all but one. Both chronos solve every length with every seed;
# chrono(200) also the short ones, so it costs nothing here to prepare for more than is needed.
#
# (All that with the other biases at 0. Chapter 01 showed how much PyTorch's random ones can spoil.)
#
# **Verdict on "set the forget bias to 1 or 2":** holds up to 25 and 50 steps, if the other biases are 0. For longer memories take chrono with your longest one; a constant 5 came close.
#
# ### Exercise 3: chrono
#
# *Five minutes.* Draw the biases of the input and the forget gate for `hidden_size` units that have to remember up to `max_steps` steps.


# %% tags=["exercise", "chrono"]
def chrono_biases(hidden_size, max_steps):
    """Return the input biases and the forget biases, two tensors of hidden_size numbers."""
    return ...


# %%
tk.check.chrono(chrono_biases)

# %% [markdown]
# <details><summary>Hint 1</summary>First draw u, uniform between 1 and max_steps - 1.</details>
# <details><summary>Hint 2</summary>The forget bias is the logarithm of u; the input bias is its negative, of the same unit.</details>
# <details><summary>Solution</summary>
#
# ```python
# def chrono_biases(hidden_size, max_steps):
#     forget = torch.empty(hidden_size).uniform_(1, max_steps - 1).log()
#     return -forget, forget
# ```
#
# </details>

# %% [markdown]
# ### Exercise 4: a GRU that remembers
#
# *Three minutes.* In PyTorch a GRU computes $h' = (1 - z)\,n + z\,h$. Give an `nn.GRU` with one layer a bias so that it keeps its state: the *effective* bias of the gate that keeps it shall be `bias`, in place.


# %% tags=["exercise", "remember_gru"]
def remember(gru, bias):
    """Make a GRU keep its state by the bias of one gate, in place."""
    ...


# %%
tk.check.remember_gru(remember)

# %% [markdown]
# <details><summary>Hint 1</summary>z must be near 1. What does that say about the sign?</details>
# <details><summary>Hint 2</summary>PyTorch's gates are reset, update, new; and its two bias vectors are added, so written to both it counts twice.</details>
# <details><summary>Solution</summary>
#
# ```python
# def remember(gru, bias):
#     for name, gate in tk.gates(gru).items():
#         if name.startswith("bias"):
#             gate["update"].fill_(bias if name.startswith("bias_ih") else 0.0)
# ```
#
# </details>

# %% [markdown]
# ## 6. Weights that have learned already
#
# The best start may be somebody else's end: weights that were trained on another data set. It is said to help where data are scarce.
#
# **The experiment.** An LSTM with 64 units learns to spell Shakespeare's words, letter by letter (7,760 words to train on, none of them on the list of names). Then it is *fine-tuned* on 50 to 4,131 first names of the US census of 1990. The loss is counted in nats: the mean negative logarithm of the probability of the next letter. The rival starts from PyTorch's default weights.
# 16 seeds, each with its own names; a fifth of them is kept for validation, and chooses learning rate and stopping point for both alike.
#
# **Predict.** Up to how many names does pre-training help?

# %%
pretraining = tk.load_results("pretraining")
figure, ax = plt.subplots(figsize=(9.2, 3.4))
starts = list(tk.experiments.STARTS)
tk.plots.curves_with_intervals(ax, pretraining, "test", starts, x="size", hue="start")
ax.set(
    xscale="log", xlabel="names to train on (and to validate with)", ylabel="loss per letter, nats"
)
sizes = sorted(pretraining["size"].unique())
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
tk.show(
    "Loss per letter against the number of names, from 50 to 4,131. Both lines fall, and the "
    "pre-trained network's is below: by 0.17 nats with 50 names, by 0.02 with 1,500."
)

# %%
tk.experiments.pretraining_gain(pretraining).round(3)

# %% [markdown]
# **Results.** With 50 names pre-training lowers the loss by 0.17 nats per letter (95 % interval 0.13 to 0.21), with 500 by 0.05, with 1,500 by 0.02. So a start from other data is worth less than three times as many own data: 150 names from scratch beat 50 names with it.
# Fine-tuning is shorter, too: with 50 names validation stops after 42 updates instead of 136, on average, not counting the 1,500 of pre-training. (With all 4,131 names neither had finished after 1,000 updates: the gain of 0.05 there says who is ahead, not who would win.)
#
# The stop matters more than the start: without it, after 1,000 updates on 50 names, the losses are 4.3 with pre-training and 4.7 without.
#
# **Verdict on "pre-trained weights help where data are scarce, and speed training up":** holds here, up to 1,500 names; and it fades as the data grow.

# %% [markdown]
# ## 7. What a page says, and what holds
#
# Pages on "LSTM weight initialisation in PyTorch" repeat a few statements. One by one:
#
# | statement | verdict |
# |---|---|
# | PyTorch offers several ways to initialise an LSTM, which avoid vanishing gradients | does not hold: `nn.LSTM` has one, U(±1/√H), and of its gradient 5e-11 is left after 50 steps (chapter 01) |
# | Xavier: $U(\pm\sqrt{6/(n_{in}+n_{out})})$, for tanh and sigmoid, less for ReLU | the formula is right; for depth it holds with tanh; for sigmoid nothing keeps the gradient |
# | He: $W \sim N(0, 2/n_{in})$ | right as a *variance*, a trap as a standard deviation |
# | He for an LSTM with ReLU | `nn.LSTM` has no choice of activation; only `nn.RNN` has `nonlinearity="relu"` |
# | Kaiming uniform is what PyTorch recommends | PyTorch uses it in linear and convolution layers, never in recurrent ones, and with `a=sqrt(5)`, which makes it U(±1/√n) again |
# | orthogonal weights keep hidden states independent | they keep norms and angles; and only gate by gate |
# | implementations have no options for the biases of LSTMs and GRUs | does not hold: Keras, TensorFlow 1 and Flax have some, Haiku for its GRU; PyTorch has none |
# | a NumPy sample, `orthogonal_init`, that takes U or V of an SVD | orthogonal, but not uniform, not gate by gate, and an error for a bias |
# | a sample `forward` that makes `h0` and `c0` of zeros | redundant (chapter 01), and its `device` is not defined |
# | initialisation decides speed and success of training | holds: chapter 01, and the tables above |
# | pre-trained weights help where data are scarce | holds: 0.17 nats with 50 names, 0.02 with 1,500 |

# %% [markdown]
# ## Recipe
#
# A PyTorch LSTM with orthogonal gates, Glorot input weights and a forget bias for its horizon, without this package:
#
# ```python
# lstm = torch.nn.LSTM(input_size, hidden_size)
# with torch.no_grad():
#     for name, parameter in lstm.named_parameters():
#         if name.startswith("bias"):
#             parameter.zero_()
#             continue
#         for gate in parameter.chunk(4):  # views: input, forget, cell, output
#             if name.startswith("weight_hh"):
#                 torch.nn.init.orthogonal_(gate)
#             else:
#                 torch.nn.init.xavier_uniform_(gate)
#     u = torch.empty(hidden_size).uniform_(1, max_steps - 1)  # chrono
#     lstm.bias_ih_l0[hidden_size : 2 * hidden_size] = u.log()
#     lstm.bias_ih_l0[:hidden_size] = -u.log()
# ```
#
# With this package it is one line: `tk.initialize(lstm, ["orthogonal", {"scheme": "chrono", "max_steps": 50}])`.
#
# A plain network with ReLU that starts as the identity, as it was trained in section 4 (at rates of 0.001 to 0.01):
#
# ```python
# rnn = torch.nn.RNN(input_size, hidden_size, nonlinearity="relu")
# with torch.no_grad():
#     torch.nn.init.xavier_uniform_(rnn.weight_ih_l0)
#     torch.nn.init.eye_(rnn.weight_hh_l0)
#     rnn.bias_ih_l0.zero_()
#     rnn.bias_hh_l0.zero_()
# ```
#
# Keras, with each gate orthogonal:
#
# ```python
# import numpy as np
# import keras
#
#
# def orthogonal_gates(shape, dtype=None):
#     gates = [keras.initializers.Orthogonal()((shape[0], shape[0]), dtype) for _ in range(4)]
#     return keras.ops.concatenate(gates, axis=1)
#
#
# layer = keras.layers.LSTM(hidden_size, recurrent_initializer=orthogonal_gates)
# ```
#
# ### What to use
#
# | your network | weights | biases | gain over PyTorch's default, 95 % interval |
# |---|---|---|---|
# | LSTM that remembers up to 25 steps | any default | all 0, forget 1 | 16 of 16 seeds learn at 25 steps instead of 0 |
# | LSTM that remembers longer | any default | chrono, with your longest memory as `max_steps` | 16 of 16 instead of 0, at 25 to 200 steps |
# | plain network, tanh | orthogonal, Glorot for the input | 0 | +0.15 accuracy (0.10 to 0.20) |
# | plain network, ReLU | orthogonal, Glorot for the input; not He | 0 | +0.13 (0.09 to 0.16) |
# | plain network, ReLU, that has to add up | identity, Glorot for the input | 0 | +0.77 $R^2$ (0.60 to 0.93), most of it not from the identity |
# | deep network without recurrence | Xavier for tanh, He for ReLU | 0 | section 1: the signal arrives |
# | little data, and more of a related kind | pre-trained | pre-trained | -0.17 nats (0.13 to 0.21) with 50 sequences |
#
# And try three learning rates: on the digits that is worth as much as the best matrix.

# %% [markdown]
# ## What you saw
#
# - **Xavier and He** keep the size of a signal through *depth*, each for its activation; $2/n$ is He's variance, not the standard deviation.
# - In **time** the same matrix comes back, so eigenvalues count. Orthogonal matrices keep every norm, gate by gate only; they trained best on the digits, with tanh and with ReLU, and the identity did on the adding problem.
# - **Training**: the learning rate and the input weights count as much as the recurrent matrix; a forget bias has to suit the length of the memory, and chrono for the longest one served all lengths; pre-trained weights help with 50 names, hardly with 1,500.
#
# **Sources.** X. Glorot, Y. Bengio, [Understanding the difficulty of training deep feedforward neural networks](https://proceedings.mlr.press/v9/glorot10a.html), AISTATS 2010. K. He, X. Zhang, S. Ren, J. Sun, [Delving deep into rectifiers](https://arxiv.org/abs/1502.01852), ICCV 2015.
# A. Saxe, J. McClelland, S. Ganguli, [Exact solutions to the nonlinear dynamics of learning in deep linear neural networks](https://arxiv.org/abs/1312.6120), ICLR 2014 (orthogonal). F. Mezzadri, [How to generate random matrices from the classical compact groups](https://arxiv.org/abs/math-ph/0609050), 2007 (Haar).
# Q. Le, N. Jaitly, G. Hinton, [A simple way to initialize recurrent networks of rectified linear units](https://arxiv.org/abs/1504.00941), 2015 (identity). C. Tallec, Y. Ollivier, [Can recurrent neural networks warp time?](https://arxiv.org/abs/1804.11188), ICLR 2018 (chrono).
# R. Jozefowicz, W. Zaremba, I. Sutskever, An empirical exploration of recurrent network architectures, ICML 2015 (forget bias). R. Pascanu, T. Mikolov, Y. Bengio, [On the difficulty of training recurrent neural networks](https://proceedings.mlr.press/v28/pascanu13.html), ICML 2013 (sparse).
#
# Previous: [01 Framework defaults](01_framework_defaults.ipynb) · Next: [03 Initial states](03_initial_states.ipynb)
