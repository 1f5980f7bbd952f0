# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 Exploding gradients
#
# **Why do gradients explode or vanish, and what have eigenvalues to do with it?** You will set the spectral radius of a
# real recurrent network with a slider, watch its true gradient travel back through time, and train it.
#
# In this chapter:
#
# - why the **eigenvalues** of `W_hh` decide the fate of a *linear* network, and only give a hint about yours;
# - what else decides: singular values, the activation, the input, and even the initial state;
# - what helps: a spectral radius a little above 1 **and** clipping for a tanh network, the forget bias for an LSTM.
#
# 35 minutes to read; under a minute to run on two CPU cores; no GPU needed.

# %%
import matplotlib.pyplot as plt
import torch

import teachkit as tk

tk.seed_everything(0)
tk.plots.use_style()
# %% [markdown]
# ## 1. The same matrix, again and again
#
# A recurrent network applies one matrix `W_hh` at every step, so its gradient is multiplied by the transpose of that matrix once for every step back.
# In a *linear* network nothing else happens: $k$ steps back it was multiplied by the $k$-th *power*, $(W_{hh}^{\top})^k$. (A popular answer on the web
# writes `h_t = W^T * h_{t-T}`. That T is meant as an exponent, and many readers take it for a transpose.)
#
# **Predict.** Take a linear network with 64 units, and scale `W_hh` so that its largest absolute eigenvalue, the
# *spectral radius* `rho`, is 0.9, 1.0 or 1.1. How large is the gradient after 50 steps? Write three numbers down.

# %%
x = torch.zeros(50, 1, 1)  # 50 steps, one sequence, one silent input
figure, ax = plt.subplots(figsize=(9.2, 3.4))
for rho, key in [(0.9, "vanish"), (1.0, "critical"), (1.1, "explode")]:
    rnn = tk.make_elman(hidden_size=64, rho=rho, activation="linear")
    growth = tk.gradient_through_time(rnn, x).growth
    label, color = f"rho = {rho}: {growth[-1]:.2g} after 50 steps", tk.plots.COLORS[key]
    tk.plots.gradient_curves(ax, {label: growth}, colors=[color])
    tk.plots.gradient_curves(ax, {"_": tk.linear_prediction(rho, 50)}, colors=[color], styles=[":"])
ax.set_title("true gradient of a linear network; dotted: rho$^k$")
ax.legend()
tk.show(
    "True gradient over 50 steps back, on a logarithmic axis: with rho = 0.9 it shrinks, with 1.0 "
    "it about keeps its size, with 1.1 it grows. In the long run each has the slope of its dotted "
    "power of rho, and lies some 4 times lower."
)

# %% [markdown]
# The curves wander a little, but in the long run they keep the slope of the dotted powers: a change of 10 % per step, compounded.
# $1.1^{50}$ is 117 and $0.9^{50}$ is 0.005. These curves end about 4 times lower, and most random networks 1.3 to 14 times, because only part of the gradient points along the
# eigenvectors that survive. What the eigenvalues fix is the *slope* in the long run.
#
# `tk.gradient_through_time` is not a formula: it runs the layer step by step and lets autograd find $\partial L/\partial h_t$
# for every $t$ in one backward pass. It takes any `nn.RNN`, `nn.LSTM` or `nn.GRU`, also yours.
#
# Eigenvalues scale with the matrix. That is all it takes to set the radius, and a slider never has to factorise a matrix
# twice.
#
# ### Exercise 1: set the spectral radius
#
# *Two minutes.* Complete the function. `torch.linalg.eigvals` gives the eigenvalues, which are complex.


# %% tags=["exercise", "rescale"]
def rescale(W, rho):
    """Return W scaled to spectral radius rho."""
    return ...


# %%
tk.check.rescale(rescale)

# %% [markdown]
# <details><summary>Hint 1</summary>If W has radius r, which factor turns r into rho?</details>
# <details><summary>Hint 2</summary>The radius is the largest <i>absolute</i> value: <code>torch.linalg.eigvals(W).abs().max()</code>.</details>
# <details><summary>Solution</summary>
#
# ```python
# def rescale(W, rho):
#     return W * rho / torch.linalg.eigvals(W).abs().max()
# ```
#
# </details>

# %% [markdown]
# ## 2. Now a real network
#
# **Predict.** In the lab below, `rho` is 1.2 and the network is still linear: its gradient grows thousandfold in 50 steps. What will tanh
# do to it: make it larger, smaller, or leave it as it is? Commit to an answer, then switch `activation` to tanh.

# %%
controls = ["rho", "activation", "hidden_size", "seq_len", "non_normality", "input", "h0", "seed"]
tk.labs.spectral_radius(rho=1.2, activation="linear", seq_len=50, show=controls)

# %% [markdown]
# Left: the eigenvalues of `W_hh` against the circle of radius 1. They are complex numbers that come in mirrored pairs. Right: the true
# gradient; the line that the eigenvalues alone promise; and a bound that it can never pass (section 3). The network starts from a random
# state `h0` with N(0, 1) entries.
#
# **Move**, one at a time, and *Reset* in between:
#
# 1. Drag `rho` from 0.1 to 3. The black curve keeps the slope of the dashed line, a few times lower.
# 2. The same with tanh. Above 1 it falls far behind the promise: units saturate, and a flat tanh passes little back.
# 3. tanh, and switch `input` on. The black curve drops by many decades: an input saturates the units too. (The other two do not know of it.)
# 4. tanh, and set `h0` to zero. Without an input nothing ever leaves 0, where tanh has slope 1: it behaves exactly like the linear network.
# 5. Linear, `rho = 1`: drag `non-normality` from 0 to 3. No eigenvalue moves, yet the gradient does (section 3).
# 6. Linear, `rho = 3`, `seq_len = 1000`: the gradient leaves float range. That is a result, not a crash.
#
# From a random state, at `rho = 1.2` and after 50 steps without input, the linear gradient is about 2,700 times larger and the tanh gradient about
# 4 times *smaller*; with N(0, 1) input it is about 50 million times smaller. (Geometric means, that is averages of the logarithms, of 100 random
# networks. Single networks differ from them by a factor of 2, 6 and 8.)
#
# **Verdict on "if the largest eigenvalue exceeds 1, gradients explode"** (a
# [popular answer](https://stackoverflow.com/questions/53550264/)): holds for a linear network. For tanh it holds only next to the state 0; from a random
# state or with input it does *not* hold at 1.2. A radius below 1 did make the gradient vanish, and faster than the eigenvalues say.
#
# Your own network works too. `scale` then multiplies all its recurrent weights, and for an LSTM `forget bias +` adds to its forget bias
# (section 8). A gated network has no single `W_hh`, so the left side shows the eigenvalues of the *Jacobian* of its last step, for the first sequence: the matrix of all
# derivatives of the new state by the old one.

# %%
model, x = torch.nn.LSTM(3, 32), torch.randn(40, 8, 3)
tk.labs.spectral_radius(model=model, x=x)

# %% [markdown]
# ## 3. What eigenvalues cannot see
#
# **Predict.** Both eigenvalues of $A = \begin{pmatrix}0.9 & 5\\ 0 & 0.9\end{pmatrix}$ are 0.9. How large does
# $\lVert A^t \rVert$ become before it dies?

# %%
A = torch.tensor([[0.9, 5.0], [0.0, 0.9]], dtype=torch.float64)
norms = [torch.linalg.matrix_norm(torch.linalg.matrix_power(A, t), 2).item() for t in range(101)]
figure, ax = plt.subplots(figsize=(9.2, 3.2))
curves = {"norm of $A^t$": norms, "$0.9^t$": tk.linear_prediction(0.9, 100)}
tk.plots.gradient_curves(
    ax, curves, colors=["#1A1A1A", tk.plots.COLORS["prediction"]], styles=["-", "--"]
)
ax.set(
    xlabel="t", ylabel="norm", title=f"largest: {max(norms):.2f} at t = {norms.index(max(norms))}"
)
ax.legend()
tk.show(
    "Norm of A to the power t, on a logarithmic axis: it climbs to 19.38 at t = 9 before it "
    "falls, while 0.9 to the power t falls from the start."
)

# %% [markdown]
# It climbs to 19.38 at $t = 9$ first. A matrix is *normal* if its eigenvectors stand at right angles; then its powers do what its eigenvalues say.
# $A$ is as far from that as can be: its two eigenvectors have merged into one, and a vector can grow while it turns towards it. The most by which a single
# step can stretch any vector is the largest **singular value**, `sigma_max`, here about 5.2.
#
# With an activation whose slope is at most $\gamma$ (1 for tanh, 1/4 for sigmoid), one step multiplies the gradient by at
# most $\gamma\,\sigma_{max}$. So, after Pascanu, Mikolov and Bengio (2013, the ICML version; early arXiv versions say
# eigenvalue):
#
# - $\gamma\,\sigma_{max} < 1$ is *sufficient* for vanishing;
# - $\gamma\,\sigma_{max} > 1$ is *necessary* for exploding, and by no means sufficient.
#
# A random Gaussian matrix with radius 1 has `sigma_max` near 2, so between the two lies much room. The singular values of
# the Jacobians $\partial h_T/\partial h_t$ show what happens in it: they are the factors by which the steps from $t$ to $T$ stretch the directions of the gradient.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.2, 3.2), sharey=True)
for ax, nu, title in zip(axes, (0.0, 1.0), ("normal W_hh", "Gaussian W_hh"), strict=True):
    rnn = tk.make_elman(32, rho=1.0, activation="linear", non_normality=nu, dtype=torch.float64)
    values = tk.jacobian_products(rnn, torch.zeros(50, 1, 1, dtype=torch.float64)).singular_values
    ax.plot(tk.plots.log10(values[:, 0].flip(0)), color="#0072B2", linewidth=0.8)
    tk.plots.decades_axis(ax, "singular values")
    ax.set(title=f"{title}, rho = 1", xlabel="steps back in time, k", ylim=(-12, 3))
axes[1].set_ylabel("")
tk.show(
    "Singular values over 50 steps back, on a logarithmic axis. Left, normal: straight lines that "
    "fall, the largest stays at 1. Right, Gaussian with the same eigenvalues: the lines bend, and "
    "a few rise above 1 and stay there."
)

# %% [markdown]
# Left, each singular value follows its own straight line (complex pairs share one), and the largest stays at exactly 1. Right, with the *same
# eigenvalues*, the lines bend: the top few rise above 1 and stay there, while the others end about where they were. After 50 steps only a few
# directions of the gradient are left, here as there.
#
# ### Exercise 2: hidden growth
#
# *Three minutes.* Give a 2 x 2 matrix with both eigenvalues 0.5 whose powers reach a norm above 10.

# %% tags=["exercise", "hidden_growth"]
W = ...

# %%
tk.check.hidden_growth(W)

# %% [markdown]
# <details><summary>Hint 1</summary>A triangular matrix carries its eigenvalues on the diagonal.</details>
# <details><summary>Hint 2</summary>What stands above the diagonal of A, and what happens if you change it?</details>
# <details><summary>Solution</summary>
#
# ```python
# W = [[0.5, 20.0], [0.0, 0.5]]
# ```
#
# </details>

# %% [markdown]
# ## 4. Two eigenvalues, both zero
#
# The eigenvalues can be *entirely* silent. Take two tanh units with
# $W_{hh} = \begin{pmatrix}8 & 8\\ -8 & -8\end{pmatrix}$. It is nilpotent, $W_{hh}^2 = 0$, so `rho` is 0.
#
# **Predict.** Without any input, does the gradient vanish after 30 steps? Does it matter where the network starts?

# %%
rnn, h_star = tk.nilpotent_counterexample()
x30 = torch.zeros(30, 1, 1, dtype=torch.float64)
starts = {"h0 = (0, 1/2)": h_star, "h0 = (0, 0)": torch.zeros_like(h_star)}
curves = {name: tk.gradient_through_time(rnn, x30, h0).growth for name, h0 in starts.items()}
figure, ax = plt.subplots(figsize=(9.2, 3.2))
tk.plots.gradient_curves(ax, curves, colors=[tk.plots.COLORS["explode"], tk.plots.COLORS["vanish"]])
grown = curves["h0 = (0, 1/2)"][-1]
ax.set(
    ylim=(-20, 12),
    title=f"both eigenvalues of W_hh are 0; from (0, 1/2) the gradient grows to {grown:.2g}",
)
ax.legend()
tk.show(
    "Gradient of one network, whose eigenvalues are both 0, over 30 steps back: from h0 = (0, "
    "1/2) it doubles at every step, from h0 = (0, 0) it vanishes."
)

# %% [markdown]
# From $h_0 = (0, 1/2)$ the gradient **doubles** at every step; from $h_0 = 0$ the same network's gradient vanishes. The
# reason: the bias is chosen so that $(0, 1/2)$ is a fixed point. The slope of tanh is $1 - h^2$, so there the slopes are 1 and $3/4$, and the
# Jacobian of a step is $\mathrm{diag}(1, 3/4)\,W_{hh} = \begin{pmatrix}8 & 8\\ -6 & -6\end{pmatrix}$ with eigenvalues **2**
# and 0. What counts is the spectrum of the *Jacobians on the way*, not of `W_hh`; and the way depends on the initial
# state. (The fixed point is unstable: in float64 rounding throws the network off it after some 40 steps.)
#
# This is where the two halves of this book meet: an initial state can decide whether a gradient lives.
#
# **Verdict on "the key quantity is the largest eigenvalue of W":** does not hold for nonlinear networks. For large random matrices `rho` still tells
# when a network *near the state 0, without input*, starts to explode.

# %% [markdown]
# ## 5. Four activations
#
# **Predict.** Order linear, sigmoid, tanh and ReLU by the radius at which gradients start to explode.

# %%
tk.labs.gradient_map()

# %% [markdown]
# Blue shrinks, white keeps, orange grows; mind that the sigmoid's axis runs to 20. Drag `rho` to move the dashed line; beyond 3 only the sigmoid's
# map holds it. Switch `input` on.
#
# The order, by the geometric mean of 100 networks: linear just above 1, ReLU and tanh close together between 1.4 and 1.5, and sigmoid last, around 13.
#
# **Sigmoid** damps by at least a factor of 4 per step, since its slope is at most 1/4. So for a normal `W_hh` nothing can
# explode up to `rho = 4`. But 4 is a bound, not a threshold: that slope is only reached at zero, and the units sit elsewhere.
# At `rho = 8` the gradient is still thousands of times *smaller* after 50 steps; it grows from somewhere between 12 and 14, and from network to network
# it differs by a factor of more than a hundred.
#
# Why zero is rare: a sigmoid network *is* a tanh network with $W_{hh}/4$ and an extra bias, because
# $\sigma(a) = (1 + \tanh(a/2))/2$. The factor 4 is that division, and the extra bias drives the units into saturation.
#
# **ReLU** "just propagates the gradient", one reads. Half of its units are off, though, so on average half of the squared
# gradient is lost at each step, and the critical radius of a large Gaussian matrix is $\sqrt 2$, not 1. At `rho = 1` the gradient is
# already about 50 million times smaller after 50 steps.
#
# **Verdict on "an eigenvalue above 4 is trouble with sigmoid":** necessary (for normal `W_hh`), not sufficient.
# **On "ReLU just propagates the gradient":** does not hold.
#
# ### Exercise 3: make a sigmoid explode
#
# *One minute.* Find a `rho` at which this network's gradient (64 units, 50 steps, no input) is larger after 50 steps than
# before.

# %% tags=["exercise", "exploding_sigmoid"]
rho = ...

# %%
tk.check.exploding_sigmoid(rho)

# %% [markdown]
# <details><summary>Hint 1</summary>Use the first lab: activation sigmoid, and drag rho beyond 4.</details>
# <details><summary>Hint 2</summary>The onset differs from seed to seed; go well beyond 8.</details>
# <details><summary>Solution</summary>
#
# ```python
# rho = 20
# ```
#
# </details>

# %% [markdown]
# ## 6. Inputs calm a network down
#
# Follow two states that start a hair apart. The **Lyapunov exponent** is the mean growth of the logarithm of their distance, per step:
# above 0 gradients explode in the long run, below 0 they vanish. For a linear network it is $\ln \rho$.
#
# **Predict.** For tanh, does an input raise the exponent or lower it?

# %%
exponents = tk.load_results("lyapunov")
figure, ax = plt.subplots(figsize=(9.2, 3.4))
rhos = torch.linspace(0.6, 3.0, 50)
ax.plot(
    rhos, rhos.log(), "--", color=tk.plots.COLORS["prediction"], label="ln rho (linear network)"
)
drives = ["no input", "temporal order", "N(0, 1) input"]
tk.plots.curves_with_intervals(ax, exponents, "exponent", drives, x="rho", hue="input")
ax.axhline(0, color=tk.plots.COLORS["critical"])
ax.set(
    xlabel="spectral radius rho",
    ylabel="largest exponent per step",
    title="tanh, 64 units, 16 seeds",
)
tk.show(
    "Largest Lyapunov exponent by spectral radius. Without input it is near 0 from 1 to 1.4 and "
    "positive from 1.6 on; with N(0, 1) input it is below 0 until a radius of 2, and the "
    "symbols of the task lie between the two. Beyond 1 a linear network's ln rho is far above all of them."
)

# %% [markdown]
# Without input the exponent stays close to 0 from `rho = 1` to 1.4 and is positive from 1.6 on. With N(0, 1) input it is still 0 at `rho = 2`, because the
# input pushes units onto the flat parts of tanh. The symbols of the task in section 9 drive the network less, and there it turns positive between 1.6 and
# 1.8. So a network that works on data can afford a radius above 1. Keep that in mind for section 9.

# %% [markdown]
# ## 7. And the output layer?
#
# The output layer, the *head*, is used once, not once a step. It decides with which gradient the way back begins; from there on
# the same Jacobians do the rest.
#
# **Predict.** Multiply the weights of the head by 10. What happens to the gradient curve?

# %%
task = tk.TemporalOrder(seq_len=50)
inputs, target = next(tk.batches(task, batch_size=32))
figure, ax = plt.subplots(figsize=(9.2, 3.2))
model = tk.SequenceModel(tk.make_elman(64, rho=2.0, input_size=6), 4)
for label, key, factor in [("head", "gradient", 1), ("head x 10", "explode", 10)]:
    with torch.no_grad():
        model.head.weight.mul_(factor)
    result = tk.gradient_through_time(
        model.rnn, inputs, loss=lambda out: task.loss(model.head(out[-1]), target)
    )
    tk.plots.gradient_curves(ax, {label: result.dL_dh.flip(0)}, colors=[tk.plots.COLORS[key]])
ax.set_ylabel("norm of dL/dh")
ax.legend()
tk.show(
    "Norm of dL/dh over the steps back, on a logarithmic axis, with the head as it is and times "
    "10: two nearly parallel curves that rise, some 10 times apart."
)

# %% [markdown]
# Two nearly parallel curves, some 10 times apart (8 to 18, over 20 networks): the factor 10, and an error at the output that has changed with it. What grows from step to
# step comes from the recurrent weights. The gradient norm of `W_hh` goes from 0.8 to about 300,000 as `rho` rises from 1 to 3, while that of the head
# goes from 0.65 to 1.2 (geometric means of 100 networks).
#
# **Verdict on "the output layer only contributes a constant factor":** holds only if the loss looks at the last step alone, and then up to the direction
# in which the gradient starts. With a loss at every step the head takes part at every step, but it does not multiply with itself. Whether one should
# therefore *not clip* it is another question, on which the evidence is split; chapter 05 measures it.

# %% [markdown]
# ## 8. A cure by design: the LSTM and its forget bias
#
# An LSTM carries its memory along $c_t = f_t\, c_{t-1} + \dots$ and so multiplies the gradient by the forget gate $f_t$
# instead of a matrix. With small weights $f_t = \sigma(b)$, and a cell remembers for about $1/(1-\sigma(b)) = 1 + e^{b}$ steps, its
# *horizon*.
#
# **Predict.** PyTorch starts with biases around 0. How much of the gradient is left after 50 steps?

# %%
tk.labs.forget_bias()

# %% [markdown]
# At $b = 0$ the gate halves the gradient at every step: about 3e-11 is left (geometric mean of 100 networks; the forget gate alone predicts 8.9e-16,
# the rest travels through the other gates). At $b = 2$ about 12 % is left, at $b = 3$ it neither vanishes nor explodes. (The bend at the last step: the initial $c_0$
# acts on no $h_0$.) This is the gradient at the
# *start*; what it does to training is a question of chapter 01. And an LSTM can explode, too: with recurrent weights four times as large and $b = 2$,
# the gradient grows.
#
# Mind the trap: PyTorch has *two* bias vectors that are added. Writing 1 into both gives a forget bias of 2.
# `tk.set_forget_bias(lstm, 1.0)` writes one and clears the other; `tk.gates(lstm)` gives every gate by its name:

# %%
lstm = tk.set_forget_bias(torch.nn.LSTM(1, 32), 2.0)
for name, gate in tk.gates(lstm).items():
    if name.startswith("bias"):
        print(f"{name}: forget bias {gate['forget'].unique().tolist()}")

# %% [markdown]
# ### Exercise 4: remember for 100 steps
#
# *One minute.* Which forget bias gives a horizon of 100 steps?

# %% tags=["exercise", "horizon_100"]
forget_bias = ...

# %%
tk.check.horizon_100(forget_bias)

# %% [markdown]
# <details><summary>Hint 1</summary>The horizon is 1 + e^b.</details>
# <details><summary>Hint 2</summary>Solve for b: e^b = 99.</details>
# <details><summary>Solution</summary>
#
# ```python
# import math
#
# forget_bias = math.log(99)  # 4.595
# ```
#
# </details>

# %% [markdown]
# ## 9. Does it matter for training?
#
# **The task.** *Temporal order*: 30 steps of symbols, two of which count, one early, one in the middle, and each of them is A or B. At the end the network
# names the case: AA, AB, BA or BB. Guessing gives a loss of $\ln 4 = 1.386$ and an accuracy of 1/4; a memory of some 25 steps is needed.
#
# **The experiment.** A tanh network with 50 units, plain SGD, 1,500 updates, 16 seeds. Each seed fixes weights *and* batches, and
# each variant sees the same ones. Clipping at a gradient norm of 1 runs at a learning rate of 0.1, at which it works; so that the comparison is fair, the
# networks without clipping also get 0.03 and 0.01.
#
# **Predict.** At which `rho` does it learn? Is clipping needed at all, or would a smaller step do?

# %%
results = tk.load_results("temporal_order")
variants = list(results.attrs["variants"])
figure, axes = plt.subplots(1, 2, figsize=(9.2, 3.8), width_ratios=(1.35, 1))
tk.plots.solved_by_rho(axes[0], tk.experiments.solved_share(results), variants)
tk.plots.curves_with_intervals(
    axes[1], results[results["rho"] == 1.2], "accuracy", variants, title="learning at rho = 1.2"
)
axes[1].axhline(0.25, color=tk.plots.INK, linestyle=":", linewidth=1.2)
axes[1].legend().remove()
axes[0].set_title("solved (accuracy 99 %), 16 seeds, 95 % intervals", fontsize=10)
axes[0].legend(loc="upper left")
figure.tight_layout()
tk.show(
    "Left, shares of 16 seeds that learn, by spectral radius: with clipping none at 0.5, most "
    "from 1 to 1.5 with a peak of 15 seeds, none at 3; without it 7 seeds at most. Right, "
    "accuracy at rho = 1.2: the clipped networks are ahead throughout."
)

# %%
difference = tk.experiments.paired_difference(results, "clip at norm 1", "no clipping, lr 0.01")
print("accuracy with clipping minus accuracy without, at lr 0.01; paired by seed, 95 % interval")
for row in difference.itertuples():
    mean, low, high = (round(value, 2) + 0.0 for value in (row.mean, row.low, row.high))
    print(f"  rho {row.rho:<4g} {mean:5.2f}  [{low:5.2f}, {high:5.2f}]")

# %% [markdown]
# **What learns.** From `rho = 0.5` nothing does, clipped or not: the gradient from the early symbol has vanished, and clipping cannot
# bring back what is not there. With clipping, success rises smoothly, without a cliff at 1: 2 of 16 at 0.8, 7 at 0.9, then 11, 14 and 15 at 1, 1.2 and 1.5.
# At 2 it is 4, at 3 none: there the network is chaotic, and a short step in a meaningless direction is of no use. (Another computer's rounding moves
# these counts by a few: an unstable run makes the last digit visible.)
#
# **Is it only the step size?** In part. At the learning rate of 0.1 no unclipped run solves the task; at 0.01 there are 7 at `rho = 1.2` and
# 7 at 1.5. Clipping is still ahead from 0.8 to 1.5, in this number of updates (at 2 the interval touches 0): it takes long steps where it can and short ones where it must.
#
# **Does a start below 1 keep it below?** Not where it learns: of the clipped networks that start at 0.8, 15 of 16 end above 1, at 1.6 on average, and their
# gradient norms reach about 60 (the median) and up to 210. Those that start at 0.5 learn nothing and stay.
#
# **Verdict on the common advice "keep the radius below 1":** does not hold here. At the start it is too far below 1 that hurts, and networks that learn leave it
# anyway. A start between 1 and 1.5 *with clipping* is what trained best. (One task, one network size, one threshold, three learning rates. Chapter 05 varies the threshold: at 3 a start at 0.8 still solves 11 of 16.)
#
# **Train now.** The lab below holds the same network at the start of training. (Its curve is still
# drawn from a random state without input; the training has symbols, and starts at 0.) Press *Train now*: two copies train on the same batches,
# one clipped. Then drag `rho` to 0.5 or 3 and train again.
#
# Look at the gradient norms, too: the unclipped copy does not go on exploding. At `rho = 3` its first steps make `W_hh` more than a hundred times larger; nearly all
# units saturate, and what gradient is left leads nowhere. At 1.2 nothing so dramatic happens, its steps are just too long to settle.
# And choose the sunspot series: forecasting one month needs little memory, and at `rho = 1.2` both copies do equally well.

# %%
tk.labs.spectral_radius(
    rho=1.2, seq_len=30, hidden_size=50, show=["rho", "seed", "task", "clip_threshold"]
)

# %% [markdown]
# The loop behind the button is `tk.fit`, an ordinary PyTorch loop with a record. It trains on the GPU where there is one.

# %%
task = tk.TemporalOrder(seq_len=30)
model = tk.SequenceModel(tk.make_elman(50, rho=1.2, input_size=6, seed=0), 4, seed=0)
clipper = tk.Clipper("norm", threshold=1.0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
history = tk.fit(
    model,
    tk.batches(task, seed=0),
    loss=task.loss,
    optimizer=optimizer,
    clipper=clipper,
    steps=1000,
    device=tk.choose_device(),
)
print(history)
print(
    f"largest gradient norm {max(history.grad_norm):.0f}; clipped {sum(history.clipped)} of {len(history)} steps"
)

# %% [markdown]
# ## Recipe
#
# For your own PyTorch network, without this package:
#
# ```python
# rnn = torch.nn.RNN(input_size, hidden_size)
# with torch.no_grad():  # a radius a little above 1
#     W = torch.randn(hidden_size, hidden_size)
#     rnn.weight_hh_l0.copy_(1.2 * W / torch.linalg.eigvals(W).abs().max())
#
# loss.backward()  # in the training loop: clip between backward and step
# norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
# optimizer.step()  # and print norm: max_norm should lie within its usual range
# ```
#
# For an LSTM start with a forget bias of 1 to 2, and more the longer it has to remember (its horizon is $1 + e^b$):
#
# ```python
# H = lstm.hidden_size
# with torch.no_grad():
#     lstm.bias_ih_l0[H : 2 * H] = 2.0
#     lstm.bias_hh_l0[H : 2 * H] = 0.0  # the two are added
# ```
#
# For Keras:
#
# ```python
# import keras
# import numpy as np
#
#
# def radius(shape, dtype=None):
#     W = np.random.randn(*shape)
#     return 1.2 * W / np.abs(np.linalg.eigvals(W)).max()
#
#
# layer = keras.layers.SimpleRNN(hidden_size, recurrent_initializer=radius)
# optimizer = keras.optimizers.SGD(0.1, global_clipnorm=1.0)  # clipnorm would clip each variable alone
# ```

# %% [markdown]
# ## What you saw
#
# - The **eigenvalues** of `W_hh` fix the slope of the gradient of a *linear* network. For tanh, sigmoid and ReLU they are a guide for large
#   random matrices and nothing more: two zero eigenvalues can go with a gradient that doubles at every step.
# - **Singular values** bound it, the **activation** damps it (sigmoid by at least 4 at each step, ReLU by $\sqrt 2$ on average), the **input** calms it, and the
#   **initial state** can decide it.
# - What **helps**: for the tanh network a radius of 1 to 1.5 *and* clipping (11 to 15 of 16 runs solved, against none without clipping at that learning rate and at most 7 at the best); for the gradient of an LSTM the forget bias.
#
# **Sources.** R. Pascanu, T. Mikolov, Y. Bengio, [On the difficulty of training recurrent neural networks](https://proceedings.mlr.press/v28/pascanu13.html),
# ICML 2013. S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 1997 (temporal order is experiment 6a). R. Jozefowicz, W. Zaremba, I. Sutskever, An empirical exploration of recurrent network
# architectures, ICML 2015 (forget bias). C. Tallec, Y. Ollivier, [Can recurrent neural networks warp time?](https://arxiv.org/abs/1804.11188), ICLR 2018
# (horizon). A. Orvieto et al., [Resurrecting recurrent neural networks](https://arxiv.org/abs/2303.06349), ICML 2023 (eigenvalues of random matrices).
# The claims under test: [Stack Overflow 53550264](https://stackoverflow.com/questions/53550264/).
#
# Previous: [03 Initial states](03_initial_states.ipynb) · Next: [05 Gradient clipping](05_gradient_clipping.ipynb) · Start: [00 Start here](00_start_here.ipynb)
