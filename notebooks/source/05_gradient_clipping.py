# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 Gradient clipping
#
# **What does clipping do, what should be clipped (the output layer too?), when, and at which threshold?** You will run gradient descent into a wall, clip a real network's gradient in eight ways, and see which of them train.
#
# In this chapter:
#
# - what clipping **does**: three functions of one name, of which two turn the gradient;
# - **what** to clip: everything, the recurrent layer, the output layer? Opinions are split, so we measure;
# - **when**, at **which threshold**, and with which optimiser it matters at all.
#
# 40 minutes to read; under a minute to run on two CPU cores; no GPU needed.

# %%
import matplotlib.pyplot as plt
import torch

import teachkit as tk

tk.seed_everything(0)
tk.plots.use_style()
# %% [markdown]
# ## 1. The wall
#
# One recurrent unit is enough to see what an exploding gradient looks like from above. Pascanu, Mikolov and Bengio (2013) take $x_{t+1} = w\,\sigma(x_t) + b$, start at $x_0 = 0.5$, run 50 steps, and ask for $\sigma(x_{50}) = 0.7$. The error $E = (\sigma(x_{50}) - 0.7)^2$ is a surface over the weight $w$ and the bias $b$.
#
# In it stands a wall. On the line $b = 0.5 - 0.62246\,w$ the start is a fixed point. Below $w = 4.2553$ that point attracts; above, it repels: two units whose $b$ lies a hair above and a hair below the line run apart, by a factor of $0.2350\,w$ at every step. After 50 steps the error is small on one side and large on the other.
#
# **Predict.** How steep is the wall at $w = 5$, at 6, at 7? And what does gradient descent do when it steps on it?

# %%
tk.labs.wall()

# %% [markdown]
# What happens at a wall hangs on the last digit. So the lab starts 16 times, at the place that you choose and within about 0.001 of it. Left: the error (dark is large), the wall with gradient norms along it, another line (green) where the error is 0, one descent without clipping and one with, and where all 16 end. Right: the error of both (thick: the median of 16), and the gradient norm.
#
# As it opens, without clipping the norm reaches hundreds, one step throws the descent 100 units away, and 11 of 16 end outside the picture, on a plain where the gradient is nearly 0. Clipped at 1, no step is longer than `lr` times 1; all stay, and find the valley.
#
# **Move**, one at a time, and *Reset* in between:
#
# 1. `clip threshold`: 10. A step may now be 3 long, and 11 of 16 leave again.
# 2. `lr` 0.1, `clip threshold` 0.1, then 1, then 10. None is thrown out, and that is not yet success: with 0.1 steps of at most 0.01 do not get far (a median error of 0.34), with 10 they jump about (0.066), with 1 they arrive (0.005).
# 3. `start: w` 4, `start: b` -3, `lr` 0.1. The way leads past the end of the wall: clipped and unclipped end alike.
# 4. `start: w` 6, `start: b` -3, `lr` 0.1. On the line the gradient is thousands of times larger here than at 5, but the wall is so thin that 200 steps hardly ever land on it: one of 16 is thrown out. Clipped and unclipped end alike.
#
# **Verdict on "clipping makes descent survive the wall":** holds if the threshold times the learning rate is short against the valley. It is the *product* that counts: the longest step.
#
#
# The wall's gradient is exact; a picture cannot show it. A grid of 801 x 801 points over this part of the plane sees a steepest slope of about 3,300, and nothing at all at $w = 6$: the wall is thinner than its cells. So the lab draws the line and writes the gradient norm next to it.

# %%
w = torch.tensor([4.2, 4.5, 5.0, 5.5, 6.0, 7.0], dtype=torch.float64)
on_the_wall = tk.error_surface(w, tk.wall_line(w), dtype="float64")
for weight, norm in zip(w.tolist(), on_the_wall.norm.tolist(), strict=True):
    print(f"w = {weight:.1f}: gradient norm on the line {norm:.3g}")

# %% [markdown]
# ## 2. What clipping is, and when
#
# **When?** That is the first exercise. (With mixed precision the gradients are scaled up until `scaler.unscale_(optimizer)` is called: clip after that.)

# %% [markdown]
# ### Exercise 1: where to clip
#
# *Two minutes.* Five of these seven lines make a training step with clipping. Put their names into an order that works, with commas between them. (The check runs your lines on four batches with a real network, and compares the parameters.)
#
# ```text
# backward  loss.backward()
# bound     for p in model.parameters(): p.data.clamp_(-1.0, 1.0)
# cap       loss = loss.clamp(max=1.0)
# clip      torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
# forward   loss = criterion(model(x), target)
# step      optimizer.step()
# zero      optimizer.zero_grad()
# ```

# %% tags=["exercise", "where_to_clip"]
order = ...  # such as "zero, step, clip"

# %%
tk.check.where_to_clip(order)

# %% [markdown]
# <details><summary>Hint 1</summary>Which line makes the gradient, and which line uses it? What is to be clipped must be there, and not be used yet.</details>
# <details><summary>Hint 2</summary>backward <i>adds</i> to the gradients that are there. And a loss that is clamped has slope 0.</details>
# <details><summary>Solution</summary>
#
# ```python
# order = "zero, forward, backward, clip, step"
# ```
#
# `zero` may also stand after `forward` or after `step`; of the 120 orders of these five lines these three are right. `bound` clips weights, and `cap` the loss: a gradient of 0 for every loss above 1.
#
# </details>

# %% [markdown]
# ### Three functions of one name
#
# All of these are called clipping:
#
# | name | rule | PyTorch | Keras |
# |---|---|---|---|
# | by the global norm | one factor for all, so that the norm of all gradients together is at most the threshold | `clip_grad_norm_` | `global_clipnorm` |
# | by each parameter's norm | a factor for each parameter | a loop | `clipnorm` |
# | by value | each number is cut at ± the threshold | `clip_grad_value_` | `clipvalue` |
#
# Algorithm 1 of Pascanu, Mikolov and Bengio is the first. **Predict.** Two parameters have the gradients (3, 4) and (0, 1.2). Which of the three keep the direction?

# %%
for method in ("norm", "per_parameter", "value"):
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1.2])
    record = tk.Clipper(method, threshold=1.0)(parameters)
    clipped = [[round(g, 3) for g in p.grad.tolist()] for p in parameters]
    print(f"{method:14} {clipped}  norm {record.norm_after:.3f}  cosine {record.cosine:.4f}")

# %% [markdown]
# Only the global norm does. The other two turn the gradient, towards what was small, and leave a norm above the threshold. `clipnorm` in Keras is *not* what PyTorch users know; `global_clipnorm` is. All the methods of this chapter are one object, `tk.Clipper`, called where `clip_grad_norm_` would stand. It keeps a record: the norm before and after, the cosine between them, which share of the numbers changed, for the whole and for each part of the model.

# %% [markdown]
# ### Exercise 2: clip by the global norm
#
# *Three minutes.* Write it yourself. `gradients` is a list of tensors of any shapes. Where their common L2 norm is above `threshold`, multiply *all* of them by one factor, so that it becomes `threshold`; below it leave them as they are.


# %% tags=["exercise", "clip_by_norm"]
def clip_by_norm(gradients, threshold):
    """Return the gradients, a list of tensors, with a global L2 norm of at most threshold."""
    return ...


# %%
tk.check.clip_by_norm(clip_by_norm)

# %% [markdown]
# <details><summary>Hint 1</summary>The global norm is the root of the sum of the squares of <i>all</i> entries of all tensors.</details>
# <details><summary>Hint 2</summary>The factor is threshold / norm, but never more than 1. Mind a norm of 0.</details>
# <details><summary>Solution</summary>
#
# ```python
# def clip_by_norm(gradients, threshold):
#     norm = sum(g.square().sum() for g in gradients) ** 0.5
#     if norm <= threshold:
#         return gradients
#     return [g * threshold / norm for g in gradients]
# ```
#
# `torch.nn.utils.clip_grad_norm_` does the same to the `.grad` of parameters, in place, with 1e-6 added to the norm.
#
# </details>

# %% [markdown]
# ### Exercise 3: each variable by itself
#
# *Two minutes.* Two variables have the gradients (3, 4) and (0, 12). Keras' `clipnorm=1.0` clips each variable by its own norm. What is the cosine between the gradient before, all four numbers of it, and after? (1 is the same direction.)

# %% tags=["exercise", "direction"]
cosine = ...

# %%
tk.check.direction(cosine)

# %% [markdown]
# <details><summary>Hint 1</summary>(3, 4) has length 5 and becomes (0.6, 0.8). And (0, 12)?</details>
# <details><summary>Hint 2</summary>The cosine is the scalar product of (3, 4, 0, 12) and (0.6, 0.8, 0, 1), divided by the lengths of both: 13 and the root of 2.</details>
# <details><summary>Solution</summary>
#
# ```python
# cosine = (3 * 0.6 + 4 * 0.8 + 12 * 1) / (13 * 2**0.5)  # 0.9247
# ```
#
# With `global_clipnorm=1.0` it is 1, with `clipvalue=1.0` it is 0.8438.
#
# </details>

# %% [markdown]
# ### When a gradient is not finite
#
# **Predict.** One number of a gradient is NaN. What does clipping by norm make of the others? And if it is infinite?

# %%
for bad in (float("nan"), float("inf"), 1e25):
    for method in ("norm", "value"):
        layer = torch.nn.Linear(3, 1, bias=False)
        layer.weight.grad = torch.tensor([[bad, 1.0, 2.0]])
        record = tk.Clipper(method, threshold=1.0)(layer)
        after = [float(f"{g:.3g}") for g in layer.weight.grad[0].tolist()]
        print(f"{bad:5} {method:6} {after}, finite before: {record.finite}")

# %% [markdown]
# One NaN makes everything NaN under `clip_grad_norm_`, an infinity makes the rest 0 and itself NaN, and PyTorch says nothing unless asked (`error_if_nonfinite=True`). Clamping by value turns an infinity into the threshold and lets NaN pass. The last case is a trap of its own: 1e25 is a finite number, but its square is not in float32, and so the whole gradient becomes 0 (from a norm of about 1.8e19 on).
#
# `tk.Clipper` uses PyTorch's functions and so does the same, but its record says `finite=False` for the first two. With `skip_nonfinite=True` it then takes the gradients away, the optimiser skips that step, and the record says so. (The third it cannot skip: every number was finite. Its `norm_after` of 0 tells.) `tk.fit` ends with the status "diverged" at the first gradient that is not finite, unless its clipper skips it.

# %% [markdown]
# ## 3. Clip what?
#
# A network has a recurrent layer, whose gradient explodes, and an output layer, the *head*, whose gradient does not: it is used once. Should the head's gradient be clipped as well? A [popular answer](https://stackoverflow.com/questions/53550264/) says that nothing keeps you from it and nothing speaks for it. Others disagree:
#
# | who | what is clipped |
# |---|---|
# | Pascanu, Mikolov and Bengio 2013, their code | one norm over all parameters, the output layer's too |
# | PyTorch's example of a word language model | all parameters, decoder and embedding too, at 0.25 |
# | TensorFlow's tutorial on the Penn Treebank | the global norm of all trainable variables |
# | Graves 2013 (handwriting) | inside backpropagation: output derivatives at ±100, those of the LSTM at ±10; "clipping the output gradients proved vital for numerical stability" |
# | Mikolov's RNN toolkit | inside backpropagation: each error that arrives at a hidden unit, at ±15 |
# | Brock, De, Smith and Simonyan 2021 (image networks without normalisation) | everything *but* the last layer: "it is always better to not clip the final linear layer" |
#
# `tk.Clipper` has them all. `recurrent` and `output` clip the joint norm of the recurrent layers or of the head; `per_parameter`, `norm` and `value` you know. Three more choose their limit by themselves: `agc` bounds, for each unit, the gradient's norm by a *share of its weights' norm*, and leaves the head alone (Brock and others); `autoclip` clips at a *percentile* of all norms so far (Seetharaman and others 2020); `zclip` cuts norms that lie more than so many *standard deviations* above their running average (Kumar and others 2025).
#
# **Predict.** At `rho = 3`, before any training: what does clipping at a global norm of 1 do to the head's gradient? What does clipping the recurrent layer alone do to the direction of the whole?

# %%
tk.labs.clip_what()

# %% [markdown]
# Left: the norm of 64 batches' gradients before and after, with the limit. Middle: the recurrent layer and the head by themselves. Right: the cosine between the clipped gradient and the true one.
#
# **Move**, one at a time, and *Reset* in between:
#
# 1. `rho` from 0.5 to 3, with `method` norm at 1. Over 100 networks (geometric means; yours is one of them) the recurrent gradient grows from 0.8 at `rho = 1` to 1,600 at 3, the head's from 0.6 to 1.1. But one factor serves both, so the head's gradient becomes 0.045 at 2 and 0.0007 at 3: *clipping together freezes the head as long as gradients explode.*
# 2. `method`: recurrent. Now the head keeps its gradient, and the direction of the whole turns: to a cosine of 0.94 at 1.5, 0.75 at 2, 0.68 at 3 (means of 100 networks).
# 3. `rho` 3, `method`: output, per_parameter, value, agc. Only output leaves a norm of hundreds. The other three turn the gradient, and none as far as agc, to a cosine below 0.2.
# 4. `rho` 3, `method`: autoclip, then zclip. Autoclip's limit follows the norms, into the hundreds. Zclip clips next to nothing: no norm stands out from the others.
#
# Norm and recurrent are not right and wrong: one changes the length of the step, the other its direction. Which is better is a question of training.

# %% [markdown]
# ## 4. Which of them train?
#
# **The experiment.** Chapter 04's network (tanh, 50 units, `rho = 1.2`, plain SGD, 1,500 updates) on temporal order, 16 seeds, eight methods and none, at the thresholds that are shown, five learning rates from 0.01 to 1. Each is shown at the rate at which most of its runs solve the task (an accuracy of 99 %). On the right the adding problem (the sum of two marked numbers out of 50), `rho = 1.5`, at a rate of 0.1: without clipping gradients leave float range within a few dozen updates, and the question is who survives.
#
# **Predict.** Put in order, for both: nothing, everything by one norm, the recurrent layer alone, the head alone.

# %%
runs = tk.load_results("clip_what")
order = tk.experiments.solved_at_best_rate(runs[runs["case"] == "temporal order"])
adding = runs[(runs["case"] == "adding, rho 1.5") & (runs["lr"] == 0.1)]
finite = tk.experiments.solved_at_best_rate(adding.assign(score=adding["diverged"] < 0))
figure, axes = plt.subplots(1, 2, figsize=(9.2, 4.4), width_ratios=(1.2, 1))
for ax, rows in zip(axes, (order, finite), strict=True):
    tk.run_plots.solved_shares(ax, rows, list(rows["name"]))
    ax.set(xlabel="share of 16 runs, 95 % intervals")
axes[0].set_title("temporal order: solved, at the best rate")
axes[1].set_title("adding, rate 0.1: still finite")
figure.tight_layout()
tk.show(
    "Left, temporal order solved, of 16 runs: 7 without clipping; 16 with AGC and, at a threshold "
    "of 1, by norm, by parameter and the recurrent layer alone; 5 with the head alone. Right, "
    "adding: all 16 runs stay finite, except without clipping (0) and with the recurrent layer "
    "alone (6)."
)

# %% [markdown]
# **On temporal order** 7 of 16 solve it without clipping, at the small rate of 0.01. Everything by one norm of 1, the recurrent layer alone, each parameter by itself, AGC: 16 of 16. By value 15. The head alone: 5, no better than without clipping, for it is not the head that explodes here. Whether the head is clipped *as well* makes no difference that could be seen: with it 14 and 16 (at rates of 0.1 and 0.3), without it 16 and 14. AGC, which leaves the head alone and turns the gradient most, solves 16 at both of these rates with a share of 0.1: the cosine at the start does not predict training.
#
# Among the methods that reach the recurrent layer, the method matters less than the threshold and the rate do *together*. A norm of 0.1 wants a rate of 1 (14 of 16) and solves none at 0.03; a norm of 1 wants 0.3 (16); a norm of 10 wants 0.03 (12) and solves none at 0.1. As at the wall, the product is the longest step.
#
# **On the adding problem**, at this rate, no run stays finite without clipping, and with the recurrent layer alone clipped 10 of 16 still blow up. With the head alone clipped all 16 stay finite: here it is the head that explodes. (A possible mechanism: a squared error is too steep in the head's weights for a rate of 0.1 where the largest eigenvalue of the mean of $h h^\top$ is above 10. That is so in 8 of the 16 networks at the start, though in so few it does not tell which of them blow up.) The rate is simply too large for this head. At 0.03 and 0.01 no clipped run blows up, and at 0.03 the recurrent layer alone even explains most (a median of 0.23 of the variance; one norm 0.18). Nobody *solves* the task at these settings: the best single run explains 56 %.
#
# **Verdict on "there is no reason to clip the output layer":** does not hold in general. Where the recurrent layer explodes no difference was to be seen; where the rate is too large for the head, leaving it out ruined most runs. **On "clipping the output gradients proved vital"** (Graves): related, and not tested; he bounds the derivative of the outputs, which bounds everything below it. **On "always better not to clip the final layer"** (Brock and others, for image networks): AGC without the head did as well as anything here. The answer's premise was that the head contributes only a constant factor. It does, until its own weights grow.
#
# **Train now** in the lab of section 3, at `rho` 1.2 and a rate of 0.1: norm, recurrent, output. One seed is one seed; do two.

# %% [markdown]
# ## 5. With Adam
#
# Adam divides a gradient by a running average of its own size. So a factor that is *constant* changes next to nothing (what is left is its `eps` of 1e-8):

# %%
ends = []
for factor in (1.0, 1e-3):
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=0.01)
    for step in range(50):
        parameter.grad = factor * (1 + torch.sin(torch.tensor([float(step)]).double()))
        optimizer.step()
    ends.append(parameter.item())
print(f"after 50 steps: {ends[0]:.6f} and, with gradients of a thousandth, {ends[1]:.6f}")

# %% [markdown]
# **Predict.** Clipping shortens the long gradients only, so it does change the weights that steps have *relative to each other*. Does that matter for Adam?

# %%
cases = {"temporal order, Adam": 0.99, "adding, ReLU, Adam": 0.95}
figure, axes = plt.subplots(1, 2, figsize=(9.2, 2.7), sharey=True)
for ax, (case, score) in zip(axes, cases.items(), strict=True):
    best = tk.experiments.solved_at_best_rate(runs[runs["case"] == case], score)
    tk.run_plots.solved_shares(ax, best, list(best["name"]))
    ax.set(title=case, xlabel="solved runs, 95 % intervals")
figure.tight_layout()
tk.show(
    "Runs of 16 that Adam solves, with wide intervals that overlap. Temporal order: 13 to 15, "
    "clipped or not. Adding: 16 without clipping and with the head alone, 12 to 14 with the "
    "others."
)

# %% [markdown]
# (Adding: 30 steps, orthogonal `W_hh`; solved is 95 % of the variance.) On temporal order every variant, none among them, solves 13 to 15 of 16 at its best rate. On the adding problem with ReLU it is 16 without clipping and with the head alone, 14 by one norm, 13 by value, 12 by parameter and 12 by the recurrent layer alone. Only counts, and no interval is clear of another. What recurrent-only clipping loses is room: at a rate of 0.003 it is left with 3 of 16, where all others have 12 to 16.
#
# **Verdict on "clipping is usually necessary":** with plain SGD, here and within 1,500 updates, yes. With Adam going without was as good as anything. A threshold much larger than 1, as a guard against the rare spike, was not tested.

# %% [markdown]
# ## 6. Clipping inside backpropagation
#
# The methods so far let backpropagation finish, and shorten what comes out. Mikolov's toolkit and Graves cut the *error* itself, on its way from step to step. PyTorch can do that: a hook on a tensor sees the gradient that passes, and what it returns passes on. The fused layers hide their states, so `tk.Clipper("error").attach(model)` runs the layer step by step and puts a hook on each state.
#
# The answer above advises against it: a gradient should stay as exact as it can be, and only the step be shortened. **Predict.** How far does clipping the errors turn the gradient?

# %%
task = tk.TemporalOrder(seq_len=30)
print("cosine to the true gradient, at the start of training")
for rho in (1.2, 2.0, 3.0):
    cosines = tk.experiments.error_clipping_cosines(task, rho, [1.0, 0.1, 0.01, 0.001])
    print(f"rho = {rho}: ", ", ".join(f"{limit:g}: {c:.3f}" for limit, c in cosines.items()))

# %% [markdown]
# At `rho = 1.2` a limit of 0.01 does next to nothing, and one of 0.001 turns the gradient to a cosine of 0.71. At 3, where there is something to clip, even a limit of 1 leaves only 0.46, and 0.001 leaves 0.06: nearly a right angle. A clipped error is wrong for every step before it, and it is wrong in other ways at each.
#
# **On "clip before the update, do not distort backpropagation":** that it distorts holds. Whether that harms is a question of training: several methods of section 4 turn the gradient, too, and solve 16 of 16. "With most toolkits you have no choice anyway" does not hold: a hook does it.

# %% [markdown]
# ### Exercise 4: clip the error on its way back
#
# *Three minutes.* A hook sees the gradient of a tensor while it flows back, and what it returns flows on in its place. Complete the function, which is called with each state of a network: `h.register_hook(f)` calls `f` with the gradient. Clamp it to [-limit, limit], and leave `h` itself as it is.


# %% tags=["exercise", "error_hook"]
def clip_errors(h, limit):
    """Clamp the gradient that flows back through h to [-limit, limit]."""
    h.register_hook(...)


# %%
tk.check.error_hook(clip_errors)

# %% [markdown]
# <details><summary>Hint 1</summary>The hook is a function of one argument: <code>lambda g: ...</code>.</details>
# <details><summary>Hint 2</summary>It must <i>return</i> the clamped gradient, as a new tensor: <code>clamp</code>, not <code>clamp_</code>.</details>
# <details><summary>Solution</summary>
#
# ```python
# def clip_errors(h, limit):
#     h.register_hook(lambda g: g.clamp(-limit, limit))
# ```
#
# `tk.Clipper("error")` does this to the errors inside a recurrent layer.
#
# </details>

# %% [markdown]
# **And training?** The same network and task. Beside error clipping stands another idea of Pascanu, Mikolov and Bengio: a *regulariser*, a term added to the loss that asks that each step back keeps the norm of the error, $\Omega = \sum_k \left(\frac{\lVert \partial E/\partial h_{k+1}\; \partial h_{k+1}/\partial h_k\rVert}{\lVert \partial E/\partial h_{k+1}\rVert} - 1\right)^2$. It works against *vanishing*, which no clipping can mend.

# %%
runs = tk.load_results("inside_backprop")
solved = tk.experiments.solved_runs(runs.assign(score=runs["accuracy"]), ["lr", "variant"])
figure, axes = plt.subplots(1, 2, figsize=(9.2, 2.9), sharey=True)
names = list(runs["variant"].unique())
for ax, (lr, own) in zip(axes, solved.groupby("lr"), strict=True):
    tk.run_plots.solved_shares(ax, own.rename(columns={"variant": "name"}), names)
    ax.set(title=f"learning rate {lr:g}", xlabel="solved runs, 95 % intervals")
figure.tight_layout()
tk.show(
    "Solved runs of 16. At a rate of 0.03 the regulariser solves 14, with norm clipping 15, "
    "clipped errors 11, norm clipping 9. At 0.1 the regulariser alone solves 2, clipped errors 8, "
    "norm clipping 14, and the regulariser with it 16."
)

# %% [markdown]
# **Error clipping** at 0.01, the better of the two limits, solves 8 of 16 at a rate of 0.1 and 11 at 0.03; norm clipping at 1 solves 14 and 9. At 0.001 it solves 1 and none. A step takes about 1.5 times as long, because the layer must be run step by step.
#
# **The regulariser**, with a weight of 0.5, the only one in the study, solves 16 and 15 *together with* norm clipping. Alone it solves 2 at 0.1, and 14 at 0.03: its authors say that alone it usually fails because gradients explode; at the smaller rate it does not. It keeps `W_hh` closer to 1 (networks trained with both have a mean spectral radius of 1.3, those with norm clipping alone 1.7 to 1.8), and it doubles the time of a step.
#
# **Verdict:** clip the finished gradient first. Clipping errors is behind at 0.1 and level at 0.03, slower, and one more number to tune. Where early inputs must count, the regulariser is worth its time. (One task, one size, two rates.)

# %% [markdown]
# ## 7. At which threshold?

# %% [markdown]
# ### Exercise 5: a threshold from a record
#
# *Two minutes.* Where do the usual norms lie? Pascanu, Mikolov and Bengio (2013) took the average norm over many updates, and found that thresholds "from half to ten times this average can still yield convergence". Here are the norms of 500 steps of chapter 04's run. Choose a threshold by that rule.

# %%
task = tk.TemporalOrder(seq_len=30)
model = tk.SequenceModel(tk.make_elman(50, rho=1.2, input_size=6, seed=0), 4, seed=0)
clipper = tk.Clipper("norm", threshold=1.0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
batches = tk.batches(task, seed=0)
tk.fit(
    model,
    batches,
    loss=task.loss,
    optimizer=optimizer,
    clipper=clipper,
    steps=500,
    device=tk.choose_device(),
)
norms = clipper.frame["norm_before"]
print(norms.describe())

# %% tags=["exercise", "threshold"]
threshold = ...  # a number

# %%
tk.check.threshold(norms, threshold)

# %% [markdown]
# <details><summary>Hint 1</summary>Start from <code>norms.mean()</code>.</details>
# <details><summary>Hint 2</summary>Half of it is the lower end. The maximum clips nothing of this record.</details>
# <details><summary>Solution</summary>
#
# ```python
# threshold = 0.6 * norms.mean()
# ```
#
# It is a rule of thumb and no law; the map below shows whether it is right. This run itself had a threshold of 1, a fifth of its average norm, and 84 % of its steps were clipped. Then clipping sets the length of nearly every step, and with it the learning rate.
#
# </details>

# %% [markdown]
# **The experiment.** Temporal order again, SGD at a rate of 0.1, 1,500 updates: eight spectral radii, eight thresholds and none, 16 seeds for each cell. This is the map of chapter 04's question and this chapter's together.
#
# **Predict.** Shade the cells in which most runs learn.

# %%
grid = tk.load_results("clip_grid")
grid["clip threshold"] = grid["threshold"].map("{:g}".format).replace("nan", "none")
solved = tk.experiments.solved_runs(grid, ["rho", "clip threshold"])
wide = solved.pivot(index="rho", columns="clip threshold", values="solved")
figure, ax = plt.subplots(figsize=(9.2, 3.7))
columns = list(grid["clip threshold"].unique())
tk.plots.annotated_heatmap(ax, wide[columns], high=16, form=".0f")
ax.set(title="runs of 16 that solve temporal order", ylabel="spectral radius rho")
tk.show(
    "Runs of 16 that solve the task, spectral radii by clip thresholds: an island between "
    "thresholds of 0.1 and 3, best at 3. Around it are zeros: at 0.03 and less, at 10 and more, "
    "at rho = 0.5 and at rho = 3."
)

# %% [markdown]
# One island, and at this rate it is narrow. **Too small** a threshold (0.01, 0.03): every step is clipped, so every step is `lr` times the threshold long, and 1,500 of them lead nowhere. It is a learning rate in disguise. **Too large** (10 and more): hardly anything is clipped, and nothing is learned, as without clipping. In between the best column is 3, not the 1 that chapter 04 used without asking: at `rho = 0.8` it solves 11 of 16 where 1 solves 2, at 1.2 all 16.
#
# So chapter 04's verdict needs a footnote. A start below 1 does hurt at a threshold of 1; at 3, at this rate, it hurts far less. What no threshold mends is `rho = 0.5`, where the gradient has vanished, and `rho = 3`, where the network is chaotic.
#
# **The rule of thumb** is from half to ten times the average norm. But the average of which run? It depends on the threshold itself: at `rho = 1`, runs clipped at 1 have an average norm between 4 and 5, those clipped at 3 about 1.6, and so have those that are not clipped and learn nothing.
#
# **Verdict on "half to ten times the average norm can still yield convergence":** a rough guide. At this rate 1 and 3 work, and 10, two to six times these averages, does not. At a rate of 0.03 it does (12 of 16 at `rho = 1.2`), and 0.1, far below any of them, solves 14 at a rate of 1 (section 4). The island moves with the rate. The authors add that speed may suffer, and allow millions of updates, where we allow 1,500. Begin near the average, and tune threshold and rate together.
#
# **Thresholds that set themselves.** In section 4 AutoClip solves 15 of 16 at both percentiles, 10 and 50, and ZClip 11; without clipping it is 7, and with a well-chosen norm 16. AutoClip asks for no scale, which is its point; a rate it needs as well. ZClip is made for rare spikes above a calm level, and here the level itself moves.

# %% [markdown]
# ## 8. On a real text
#
# PyTorch's word language model trains with plain SGD at a rate of 20, clipped at 0.25. Is it the clipping that allows such a rate? Ours are letters, not words: an LSTM with 32 units spells Shakespeare, windows of 25 characters, 400 updates, 16 seeds.

# %%
text = tk.load_results("clip_text")
text["clipping"] = text["method"] + text["threshold"].map(" {:g}".format).replace(" nan", "")
losses = text.groupby(["optimizer", "lr", "clipping"], sort=False)["test_loss"]
table = losses.agg(lambda runs: runs.mean(skipna=False)).unstack()
table.round(3)

# %% [markdown]
# (Held-out loss in nats per letter; guessing by frequency is at 3.31.) With SGD the best rate is 10 without clipping (2.258) and at 0.25 (2.223; the difference of 0.035 has an interval of -0.001 to 0.072). At 0.1 it is 30, the largest tried (2.241). So a tighter clip allows a rate three times as large, and gains nothing that could be told from none. What it buys is safety: at 30 the networks without clipping end at 7.7 on average, far worse than guessing. At small rates it only slows down, 2.97 against 2.64 at a rate of 1. With Adam the best rate is 0.03 for all: 2.066 without clipping, 2.058 at 0.1, a difference of 0.008 (0.003 to 0.013). Adam itself is worth 0.16.

# %% [markdown]
# ## 9. Which, then?
#
# | your case | what to do | seen here |
# |---|---|---|
# | plain SGD, gradients explode | one global norm over everything; tune threshold and rate together | 16 of 16 against 7 (section 4) |
# | a rate that may be too large for the head: squared errors, many units | do not leave the head out, or lower the rate | 10 of 16 ruined at 0.1, none at 0.03 (section 4) |
# | Adam | begin without; not the recurrent layer alone | 13 and 16 of 16 without; 3 at a rate of 0.003 where others have 12 to 16 (section 5) |
# | you do not know the scale of your gradients | look at the norms, or AutoClip | 15 of 16 (section 7) |
# | Keras | `global_clipnorm`, not `clipnorm` | the direction (section 2) |
# | gradients vanish | no clipping helps: weights, forget bias, regulariser | 0 of 16 at `rho = 0.5` (section 7) |
# | now and then a gradient is not finite | skip the step, and look at that batch | everything becomes NaN (section 2) |

# %% [markdown]
# | statement | verdict |
# |---|---|
# | nothing speaks for clipping the output layer | does not hold: where the rate is too large for the head it is what keeps the run finite (section 4) |
# | the output layer only contributes a constant factor | until its own weights grow (section 4; chapter 04, section 7) |
# | clip before the update, do not distort backpropagation | the distortion is real; error clipping trained worse at one rate, no worse at the other, and is slower (section 6) |
# | with most toolkits you have no choice | does not hold: a hook does it (section 6) |
# | clipping is a dirty hack (the same answer) | Zhang and others (2020) prove it faster than any fixed step for losses whose curvature grows with their gradient |
# | clipping is usually necessary | with SGD on a task that explodes, within 1,500 updates; with Adam not (section 5) |
# | half to ten times the average norm | a rough guide: the range moves with the rate (section 7) |

# %% [markdown]
# ## Recipe
#
# Clip between `backward` and `step`, look at the norms, and do not let a bad batch through. For any PyTorch model, without this package:
#
# ```python
# norms = []
# for x, target in batches:
#     optimizer.zero_grad()
#     loss = criterion(model(x), target)
#     loss.backward()
#     norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
#     if torch.isfinite(norm):
#         norms.append(norm.item())
#         optimizer.step()
# average = sum(norms) / len(norms)  # max_norm should be of its order
# ```
#
# The recurrent layer and the output layer by themselves, each with a threshold of its own, so that neither freezes the other (not measured here):
#
# ```python
# torch.nn.utils.clip_grad_norm_(model.rnn.parameters(), max_norm)
# torch.nn.utils.clip_grad_norm_(model.head.parameters(), max_norm)
# ```
#
# Inside backpropagation, for a cell in a loop of your own:
#
# ```python
# for x_t in x:
#     h = cell(x_t, h)
#     if h.requires_grad:
#         h.register_hook(lambda gradient: gradient.clamp(-limit, limit))
# ```
#
# For Keras, where `clipnorm` clips each variable by itself:
#
# ```python
# import keras
#
# optimizer = keras.optimizers.SGD(lr, global_clipnorm=max_norm)
# ```
#
# With this package, any method of this chapter and a record of what it did:
#
# ```python
# clip = tk.Clipper("norm", max_norm, skip_nonfinite=True)
# for x, target in batches:
#     optimizer.zero_grad()
#     criterion(model(x), target).backward()
#     clip(model)
#     optimizer.step()
# table = clip.frame  # norms before and after, cosine, by part of the model
# ```

# %% [markdown]
# ## What you saw
#
# - Clipping by the **global norm** shortens a step and keeps its direction; per variable, by value, by part and inside backpropagation it turns. It cannot mend a gradient that has vanished, nor a network in chaos.
# - **What:** where the recurrent layer explodes it must be clipped, and whether the head is clipped too made no difference that could be seen. Where the rate is too large for the head, it is the one to clip. One norm over everything is safe in both cases.
# - **When:** between `backward` and `step`. **Threshold:** of the order of the average norm; what counts is its product with the learning rate. With **Adam**, going without was as good as anything.
#
# **Sources.** R. Pascanu, T. Mikolov, Y. Bengio, [On the difficulty of training recurrent neural networks](https://proceedings.mlr.press/v28/pascanu13.html), ICML 2013 (the wall is its figure 6; norm clipping, the rule of thumb, the regulariser), and its code, pascanur/trainingRNNs. A. Graves, [Generating sequences with recurrent neural networks](https://arxiv.org/abs/1308.0850), 2013. T. Mikolov's rnnlm (`gradient_cutoff`). A. Brock, S. De, S. L. Smith, K. Simonyan, [High-performance large-scale image recognition without normalization](https://arxiv.org/abs/2102.06171), 2021 (AGC).
# P. Seetharaman, G. Wichern, B. Pardo, J. Le Roux, [AutoClip](https://arxiv.org/abs/2007.14469), MLSP 2020. A. Kumar et al., [ZClip](https://arxiv.org/abs/2504.02507), 2025. J. Zhang, T. He, S. Sra, A. Jadbabaie, [Why gradient clipping accelerates training](https://arxiv.org/abs/1905.11881), ICLR 2020 (its abstract). PyTorch's `torch.nn.utils.clip_grad_norm_`, Keras's `clipnorm`, `global_clipnorm` and `clipvalue`, PyTorch's example `word_language_model`; TensorFlow's tutorial on the Penn Treebank, by copies of its code. The claims under test: [Stack Overflow 53550264](https://stackoverflow.com/questions/53550264/).
#
# Previous: [04 Exploding gradients](04_exploding_gradients.ipynb) · Next: [06 Forecasting](06_forecasting.ipynb) · Start: [00 Start here](00_start_here.ipynb)
