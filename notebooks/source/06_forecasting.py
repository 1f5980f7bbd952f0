# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 Forecasting
#
# **Put together on a real series: which of these choices paid off?** One series of 260 years, split honestly, against rivals that are not made of straw; every choice of this book is a switch.
#
# In this chapter:
#
# - a real series, **properly split**, and four simple forecasts that a network has to beat;
# - an LSTM in which the preset, the forget bias, the initial state and clipping are **switches**, and which of them mattered;
# - the **whole recipe** on one page, saving and loading, and a closing quiz over all chapters.
#
# 35 minutes to read, and 15 for the quiz; under a minute to run on two CPU cores; no GPU needed.

# %%
import matplotlib.pyplot as plt
import torch

import teachkit as tk

tk.seed_everything(0)
tk.plots.use_style()
# %% [markdown]
# ## 1. One series, three parts
#
# The Sun has spots, and people have counted them every month since 1749: 3,120 numbers. They come and go in cycles of about eleven years, but no two cycles are alike, in height or in length. We forecast the next 24 months from the last 132, that is, two years from eleven.
#
# The first 60 % are there to train on, the next 20 % to choose by (the *validation* part), and the last 20 %, from January 1957 on, to be judged by (the *test* part), once. Square roots make the noise about equal at all heights; mean and standard deviation for the scaling come from the training part alone.

# %%
task = tk.SeriesForecast("sunspots", seq_len=132, horizon=24)
figure, ax = plt.subplots(figsize=(9.2, 2.9))
tk.run_plots.parts_of_series(ax, task)
ax.set_ylabel("sunspots a month")
tk.show(
    "Sunspots a month since 1749, in cycles of about eleven years that differ in height. The "
    "training part comes first, then the validation part, then, from 1957 on, the test part, "
    "which opens with the highest cycle of all."
)

# %% [markdown]
# The test part opens with the highest cycle of the whole series. That is bad luck, and what real use looks like: the future is not drawn from the past.

# %% [markdown]
# ### Exercise 1: what leaks?
#
# *Three minutes.* A network shall forecast the next 24 months of the sunspots from 132, and be judged on data that it has not seen: the *test part*. Here are six ways to split, to scale and to choose. Which of them let the test part leak into training?
#
# - **a)** All windows of 132 + 24 months are cut from the series and shuffled; a fifth of them is the test part.
# - **b)** The series is scaled by its mean and standard deviation; then its last fifth becomes the test part.
# - **c)** The last fifth of the months is the test part. Training windows begin before it, and their 132 months end before it; the 24 that they forecast may lie in it.
# - **d)** The last fifth of the months is the test part. The 24 months that a test window forecasts lie in it; the 132 that it reads may lie before it.
# - **e)** Of five learning rates the one with the lowest error on the test part is reported, with that error.
# - **f)** Learning rate and stopping step are chosen on a validation part, between training and test part; the test part is used once.

# %% tags=["exercise", "leaks"]
letters = ...  # such as {"a", "b"}

# %%
tk.check.leaks(letters)

# %% [markdown]
# <details><summary>Hint 1</summary>Ask of each number that training or choosing uses: would it have been known at the time of the forecast?</details>
# <details><summary>Hint 2</summary>Four of the six leak. Reading the past is no leak, whichever part it lies in.</details>
# <details><summary>Solution</summary>
#
# ```python
# letters = {"a", "b", "c", "e"}
# ```
#
# In a, most test windows have a neighbour among the training windows that begins a month earlier or later, and so knows at least 23 of the 24 months to be forecast. In b the scale knows the level of the test part, in c the last training windows learn months of it, in e the choice was made by it.
#
# </details>

# %% [markdown]
# ## 2. Rivals
#
# Four forecasts that need no network:
#
# - **persistence** repeats the last month;
# - **seasonal naive** repeats what was seen 132 months before;
# - **the mean** of the training part;
# - **linear autoregression** gives each of the 24 months its own weighted sum of the last months, fitted by least squares with a small penalty. How many months it reads and how large the penalty is are chosen on the validation part.
#
# **Predict.** Which is best one month ahead? Two years ahead? And what share of the best rival's error will an LSTM save?

# %%
baselines = tk.experiments.ablation_baselines()
baselines.round(3)

# %% [markdown]
# The errors are root mean squares in scaled units: 1 is a standard deviation of the training part. `test_1` to `test_24` are those 1, 6, 12 and 24 months ahead. One month ahead only the linear one beats repeating the last month; two years ahead the season is better, and the mean is no worse than persistence. The linear forecast is best at every distance.

# %% [markdown]
# ### Exercise 2: the simplest rival
#
# *Three minutes.* A network is worth its trouble only where it beats simple rules. The simplest one for a series with a period: forecast each value by the last known value at the same place of the period. `series` is an array of the values that are known, oldest first; `horizon` may be longer than `period`.


# %% tags=["exercise", "seasonal_naive"]
def seasonal_naive(series, period, horizon):
    """Return the forecasts of the next `horizon` values."""
    return ...


# %%
tk.check.seasonal_naive(seasonal_naive)

# %% [markdown]
# <details><summary>Hint 1</summary>The first forecast is <code>series[-period]</code>, the next one <code>series[-period + 1]</code>. What comes after <code>series[-1]</code>?</details>
# <details><summary>Hint 2</summary>Cut off the last period. Forecast number k, from 0 on, is its value number <code>k % period</code>.</details>
# <details><summary>Solution</summary>
#
# ```python
# def seasonal_naive(series, period, horizon):
#     last = series[-period:]
#     return [last[k % period] for k in range(horizon)]
# ```
#
# </details>

# %% [markdown]
# ## 3. A network with switches
#
# An LSTM with 16 units reads the 132 months; a linear layer turns its last state into the next 24. Everything else in this book is a switch:
#
# | switch | settings | chapter |
# |---|---|---|
# | preset of the weights | PyTorch's, Keras's | 01 |
# | forget bias | as the preset has it (about 0 in PyTorch, 1 in Keras), 1, 3 | 01, 02, 04 |
# | initial state | zero, learned, noisy | 03 |
# | clipping | none, global norm 1 | 05 |
#
# and the learning rate of Adam: 0.003, 0.01, 0.03. That makes 36 combinations at three rates, each from 16 seeds.
#
# **Predict.** Which switch matters most? Which not at all? Note an order.

# %%
tk.labs.forecast()

# %% [markdown]
# Left: the series around one month of the test part, what came after it, and the forecasts of two rivals. Right: the test error of these settings, from 16 seeds, the means of all 36 combinations, and the rivals. All this was computed beforehand; **Train now** trains one network with exactly these settings, draws its forecast while it learns, and its validation error against the rivals' (a few seconds).
#
# **Move**, one at a time:
#
# 1. `origin`: drag it through the cycles. Where is the linear forecast good, where is the seasonal one?
# 2. Each switch. Watch the blue diamond, and compare how far it moves with how far the 16 dots lie apart. Then `clipping` once more, with a forget bias of 1: does it move the same way?
# 3. Press **Train now**, twice, with two seeds. When is the validation error lowest?
#

# %% [markdown]
# ## 4. Which choices paid off?
#
# Each dot below is what a setting changes in the error, against the first setting of its switch, averaged over all settings of the others, with a 95 % interval over 16 seeds; left of 0 is better. Every combination runs at the learning rate that is best on the validation part, and stops at the step that is best there.

# %%
runs = tk.load_results("ablation")
figure, axes = plt.subplots(1, 2, figsize=(9.2, 2.9), sharey=True)
for ax, part in zip(axes, ("validation", "test"), strict=True):
    effects = tk.experiments.main_effects(runs, part)
    names = ["switch", "setting", "baseline"]
    effects["what"] = ["{}: {}, not {}".format(*row) for row in effects[names].to_numpy()]
    effects["what"] = effects["what"].str.replace("_", " ")
    tk.plots.differences(ax, effects, "what", f"change of the {part} error", lower_is_better=True)
    ax.set(title=f"on the {part} part", xlim=(-0.06, 0.06))
axes[1].set_ylabel("")
figure.tight_layout()
tk.show(
    "What each setting changes in the error, with 95 % intervals. On the validation part forget "
    "biases of 1 and 3 and clipping lower it; on the test part these three raise it, and Keras's "
    "preset and a learned start lower it."
)

# %% [markdown]
# **On the validation part** the book seems to pay off. A forget bias of 3 instead of PyTorch's own lowers the error by 0.034 (0.027 to 0.041), of some 0.55; one of 1 by 0.010 (0.005 to 0.015); clipping by 0.003 (0.001 to 0.006). The preset, at equal forget biases, and the initial state change nothing that can be seen.
#
# **On the test part** each of these turns round. The forget bias of 3 now *costs* 0.021 (0.001 to 0.041), the one of 1 costs 0.034 (0.013 to 0.054), clipping costs 0.013 (0.006 to 0.021). And what did nothing before is ahead: Keras's preset by 0.018 (0.006 to 0.030), a learned start by 0.014 (0.001 to 0.028). Nobody could have chosen these two: choosing was done on the validation part. (Nor do they help without stopping: after the last update the learned start is 0.011 behind.)
#
# How can intervals be that narrow and both be "right"? Because they are intervals over *seeds*. They say what other random numbers would do with the same 50 years, and nothing about other years. Sixteen seeds make the luck of the draw small. The luck of *which years* are the test is as large as ever: it turned the sign of everything that was chosen. (And a part of the gain on the validation part is made by the choice itself: each run's error there is the least of 13 measurements. After the last update, without that choice, a forget bias of 3 saves 0.018 (0.011 to 0.025).)
#
# | | validation | test | verdict |
# |---|---|---|---|
# | forget bias 3, not PyTorch's own | -0.034 | +0.021 | the largest effect where it was chosen, of the other sign where it counts |
# | forget bias 1, not PyTorch's own | -0.010 | +0.034 | likewise |
# | clipping at 1 | -0.003 | +0.013 | did not pay: no run diverged, and at a rate of 0.003 it cut 47 % of the steps, which needed no cutting |
# | Keras's preset, at equal forget biases | -0.001 | -0.018 | not to be seen where it could be chosen |
# | a learned start, a noisy start | -0.001, -0.001 | -0.014, -0.009 | likewise; the noisy one cannot be told from zero |
# | learning rate 0.03, not 0.003 | | +0.022 | about as much as a switch; the three rates are 0.007 apart on the validation part, on average, and 0.029 on the test part |
# | stopping at the best validation error | | -0.024 | about as much as a switch, against 600 updates for all |
#
# These are averages. A single move in the lab, at one rate and with all other switches as they are, can go the other way. (Keras's preset "as it has it" and Keras's with a forget bias of 1 are the same networks; they count once, so 30 kinds are left of the 36.)

# %% [markdown]
# ## 5. And the rivals?

# %%
combinations = tk.experiments.combination_errors(tk.experiments.distinct_runs(runs))
linear = baselines.set_index("baseline").loc["linear autoregression"]
figure, ax = plt.subplots(figsize=(5.6, 3.4))
colors, what = tk.plots.COLORS, "30 kinds of network, means of 16 seeds"
ax.plot("validation", "mean", "o", data=combinations, color=colors["learned"], label=what)
ax.plot(*linear[["validation", "test"]], "s", color=colors["prediction"], label=linear.name)
ax.legend(loc="lower left")
ax.set(xlabel="validation error", ylabel="test error", ylim=(0.49, 0.64))
tk.show(
    "Test error against validation error. Of 30 kinds of network 22 are left of the linear "
    "autoregression, better on validation; all 30 are above it, worse on the test part."
)

# %% [markdown]
# On the validation part 22 of the 30 kinds beat the linear autoregression. On the test part **none** does: their errors are 0.544 to 0.629, the linear one's is 0.509. (Of 480 single runs 13 beat it.) The kind that validation chooses first (Keras, forget bias 3, noisy, clipped) has 0.571 (0.545 to 0.598). All are better than the seasonal naive forecast over the 24 months; one month ahead they are no better than repeating the last month (0.408 on average against 0.404), two years ahead no better than the season (0.778 against 0.766).
#
# Where do the networks lose?

# %%
decades = tk.load_results("decades")
figure, ax = plt.subplots(figsize=(9.2, 3.1))
tk.run_plots.errors_by_decade(ax, decades)
tk.show(
    "Test error in five decades. The linear autoregression is well ahead of both kinds of network "
    "in the first decade, whose cycle is the highest, and about level with them in the calm ones, "
    "1967 to 1976 and 1997 to 2006."
)

# %% [markdown]
# Small dots are the 16 seeds of two kinds, the one that validation chose and PyTorch's layer as it comes; diamonds are the errors of their *averaged* forecasts. In the calm decades (1967 to 1976, 1997 to 2006) networks and linear rule are within 0.03 of each other, and averages of 16 networks within 0.01 or ahead (0.41 and 0.44 against 0.44 in the last decade). They lose most where the cycles are high: 0.57 and 0.58 against 0.41 in the first decade, whose cycle is higher than any that they were trained on. There a likely reason, not tested here, is that a linear rule goes on in a straight line beyond what it has seen, while a network of tanh and sigmoid flattens out. It hardly explains the decades from 1977 on, whose cycles are hardly higher than those of the training part.
#
# **Verdict on "use an LSTM":** not shown for this series, with 16 units and 600 updates. A least-squares fit that takes a second is ahead. If you must have the network, average several seeds: that gains 0.02 to 0.04 in each decade.

# %% [markdown]
# ## 6. Train one, save it, load it
#
# One network, Keras's preset and nothing else, by the loop of chapter 04. `score` is called on the way, so we can see when the validation error stops falling. (The recipe below keeps the best.)

# %%
model = tk.SequenceModel(tk.initialize(tk.LSTM(1, 16), "keras"), task.horizon, seed=0)
device = tk.choose_device()  # the GPU where there is one
x, target = (values.to(device) for values in task.held_out())
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
history = tk.fit(
    model,
    tk.batches(task, seed=0),
    loss=task.loss,
    optimizer=optimizer,
    steps=300,
    score=lambda m: task.loss(m(x), target).item() ** 0.5,
    score_every=50,
    device=device,
)
print({step + 1: round(error, 3) for step, error in history.score.items()})

# %% [markdown]
# What goes into use is not the model alone: it knows scaled values only. `tk.Forecaster` keeps the model, the scaling and the lengths in one file, which loads as data (`weights_only=True`), without running anything in it. The forecasts are the same, bit for bit.

# %%
import tempfile
from pathlib import Path

known = task.values[:"1976-12"]
with tempfile.TemporaryDirectory() as folder:
    path = tk.Forecaster(model.cpu(), task).save(Path(folder) / "sunspots.pt")
    again = tk.Forecaster.load(path)
same = again.forecast(known) == tk.Forecaster(model, task).forecast(known)
print("equal:", bool(same.all()), again.forecast(known).round(0)[:12])

# %% [markdown]
# ### Exercise 3: the same forecast tomorrow
#
# *Five minutes.* A forecaster was trained and saved:
#
# ```python
# model = tk.SequenceModel(tk.LSTM(1, hidden_size, initial_state="learned+noisy"), 24)
# ...  # trained on (values - mean) / std
# state = {"state_dict": model.state_dict(), "hidden_size": hidden_size, "mean": mean, "std": std}
# torch.save(state, path)
# ```
#
# Load it so that it forecasts what it did before, bit for bit. Return a function of `values`, (T, B, 1), which gives the forecasts, (B, 24), both in the units of the series.


# %% tags=["exercise", "same_forecast"]
def load(path):
    """Return a function that maps values (T, B, 1) to forecasts (B, 24)."""
    return ...


# %%
tk.check.same_forecast(load)

# %% [markdown]
# <details><summary>Hint 1</summary><code>saved = torch.load(path, weights_only=True)</code> gives the dict. Build the same model anew, and give it the weights with <code>load_state_dict</code>.</details>
# <details><summary>Hint 2</summary>Three things are easily forgotten: a new model is in training mode, where it draws noise; the learned start is part of the layer; and the model knows only scaled values.</details>
# <details><summary>Solution</summary>
#
# ```python
# def load(path):
#     saved = torch.load(path, weights_only=True)
#     lstm = tk.LSTM(1, saved["hidden_size"], initial_state="learned+noisy")
#     model = tk.SequenceModel(lstm, 24)
#     model.load_state_dict(saved["state_dict"])
#     model.eval()
#
#     def forecast(values):
#         with torch.no_grad():
#             scaled = (values - saved["mean"]) / saved["std"]
#             return model(scaled) * saved["std"] + saved["mean"]
#
#     return forecast
# ```
#
# </details>

# %% [markdown]
# ## Recipe
#
# The whole book on one page, for your own PyTorch model. Every line was worth something in some chapter; on this chapter's series the forget bias and clipping cost something. So take it as a start, tune the learning rate and the stopping first, and keep what your own validation part confirms more than once.
#
# ```python
# import copy
#
# lstm = torch.nn.LSTM(input_size, hidden_size)
# head = torch.nn.Linear(hidden_size, horizon)
# with torch.no_grad():
#     for name, parameter in lstm.named_parameters():
#         if name.startswith("bias"):
#             parameter.zero_()  # chapter 01
#         elif name.startswith("weight_hh"):
#             for gate in parameter.chunk(4):
#                 torch.nn.init.orthogonal_(gate)  # chapter 02
#     lstm.bias_ih_l0[hidden_size : 2 * hidden_size] = 1.0  # more for a longer memory, chapter 02
# # the initial state stays zero, chapter 03
# parameters = [*lstm.parameters(), *head.parameters()]
# optimizer = torch.optim.Adam(parameters, lr=lr)
# best, kept = float("inf"), None
# for step in range(steps):
#     x, target = next(batches)  # (T, B, input_size), (B, horizon): of the training part alone
#     loss = torch.nn.functional.mse_loss(head(lstm(x)[0][-1]), target)
#     optimizer.zero_grad()
#     loss.backward()
#     norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)  # chapter 05: look at norm
#     optimizer.step()
#     if step % 50 == 0:
#         with torch.no_grad():
#             x, target = validation
#             error = torch.nn.functional.mse_loss(head(lstm(x)[0][-1]), target).item()
#         if error < best:  # stop where validation is best
#             best, kept = error, copy.deepcopy([lstm.state_dict(), head.state_dict()])
# lstm.load_state_dict(kept[0])
# head.load_state_dict(kept[1])
# ```
#
# For Keras:
#
# ```python
# import keras
#
# model = keras.Sequential([keras.layers.LSTM(hidden_size), keras.layers.Dense(horizon)])
# model.compile(keras.optimizers.Adam(lr, global_clipnorm=max_norm), "mse")
# stop = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
# model.fit(x, y, validation_data=validation, epochs=epochs, callbacks=[stop], verbose=0)
# ```
#
# And before all of it:
#
# | first | then |
# |---|---|
# | split in time; scale by the training part | never look at the test part until the end |
# | the seasonal naive and the linear forecast | a network, if they leave something to gain |
# | the learning rate, and when to stop | preset, forget bias, clipping |
# | several seeds | several test periods, where the series is long enough |

# %% [markdown]
# ## The closing quiz
#
# *Fifteen minutes.* Fourteen questions over all chapters, each with one right answer. Write the letter of yours in the place of the `...`; leave open what you want to think about. To each answer the check says why, and which section to read again.
#
# **1.** You write 1 into the forget part of `bias_ih_l0` and of `bias_hh_l0` of an `nn.LSTM`. What is its forget bias now?
#
# - **a)** 1: the second vector is a copy, for cuDNN
# - **b)** 2
# - **c)** 1, and a little of what was drawn before
#
# **2.** Two LSTMs have a forget bias of 1 and the same matrices. One keeps PyTorch's random numbers in all its other biases, the other has zeros there. Which learns to recall a bit after 50 steps?
#
# - **a)** both alike, for their gradients at the start are nearly the same
# - **b)** the one with random biases, for they make its units differ
# - **c)** neither: 50 steps take a forget bias of 2
# - **d)** the one with zeros, with far more seeds
#
# **3.** He's initialisation keeps a signal at its size through 20 ReLU layers. Why not through 50 steps of a recurrent ReLU network?
#
# - **a)** the same matrix comes back at every step, so the luck of one draw is multiplied 50 times
# - **b)** 50 is more than 20: in the end every scheme fades
# - **c)** the variance 2/n is meant for layers; for steps it must be 1/n
#
# **4.** `torch.nn.init.orthogonal_(lstm.weight_hh_l0)` makes the stacked 4H x H matrix orthogonal. What does it make of the H x H block of one gate?
#
# - **a)** an orthogonal matrix, for it is part of one
# - **b)** a matrix that stretches, so that gradients explode
# - **c)** a matrix that keeps no norm, with a spectral radius of about one half
#
# **5.** A layer learns its start: `h0` and `c0` are parameters. The training loop passes zeros as states to every call. What happens to the parameters?
#
# - **a)** nothing: their gradient stays None, and no error says so
# - **b)** they learn, but slowly
# - **c)** PyTorch raises an error at `optimizer.step()`
# - **d)** they are pulled to zero
#
# **6.** A network reads one long text in windows of 5 characters. What comes of carrying the state from window to window in training?
#
# - **a)** nothing, for a network forgets its start within a few steps
# - **b)** it is better in every use, for it knows more
# - **c)** it is worse in every use, for the weights have changed since the state was computed
# - **d)** it is better in a long run without resets, and worse at cold starts
#
# **7.** A tanh network has random weights, `rho = 1.2` and N(0, 1) input, and starts at a random state. How large is its gradient 50 steps back, typically?
#
# - **a)** about 1.2 to the power of 50 times larger
# - **b)** about as large as before: tanh makes up for what rho adds
# - **c)** very much smaller
#
# **8.** $\gamma$ is the largest slope of the activation. What does $\gamma\,\sigma_{max} > 1$ say about exploding gradients?
#
# - **a)** it is sufficient: they explode
# - **b)** it is necessary, not sufficient: they may
# - **c)** it is sufficient for them not to vanish
# - **d)** nothing: only eigenvalues count
#
# **9.** Keras's `clipnorm=1` clips every variable by itself. Two variables have the gradients (3, 4) and (0, 12). What becomes of the gradient as a whole?
#
# - **a)** it keeps its direction and has norm 1
# - **b)** it keeps its direction, and both parts have length 1
# - **c)** no number in it is larger than 1, that is all: (1, 1) and (0, 1)
# - **d)** it has another direction: the part that was shorter counts for more
#
# **10.** You divide every gradient by 1,000, at every step, and train with Adam as before. What changes?
#
# - **a)** training takes about a thousand times longer
# - **b)** next to nothing
# - **c)** training gets as stable as with clipping
#
# **11.** Of five learning rates the one with the lowest error on the test part is reported, with that error. Is it a fair estimate?
#
# - **a)** yes: no weight has seen the test part
# - **b)** yes, if every error is a mean over 16 seeds
# - **c)** no, it is too low on average
# - **d)** no, it is too high on average
#
# **12.** An LSTM forecasts the sunspots of the next month and explains most of their variance on held-out months. What does that say?
#
# - **a)** little, before you know what simple rules explain, such as repeating the last month
# - **b)** that it forecasts well
# - **c)** that it remembers the cycle of eleven years
# - **d)** that it overfits
#
# **13.** At a learning rate of 0.001 a learned start lowers the loss on sunspots by a tenth, against zeros. At the rate at which zeros end best no gain is left. What follows?
#
# - **a)** learned starts generalise better
# - **b)** learned starts do nothing
# - **c)** compare starts at rates that are tuned: where the rate is too small, a better start stands in for training that is missing
# - **d)** stay at 0.001, with a learned start
#
# **14.** Two tanh networks have the same weights and no input. From its start one's gradient doubles at every step; from another start the other's vanishes. How can that be?
#
# - **a)** it cannot: the eigenvalues of `W_hh` decide, and they are the same
# - **b)** the slopes of tanh, and with them the Jacobians on the way, depend on the states
# - **c)** the start is a term of the gradient
# - **d)** by rounding

# %% tags=["exercise", "quiz"]
answers = {
    1: ...,  # such as "a"
    2: ...,
    3: ...,
    4: ...,
    5: ...,
    6: ...,
    7: ...,
    8: ...,
    9: ...,
    10: ...,
    11: ...,
    12: ...,
    13: ...,
    14: ...,
}

# %%
tk.check.quiz(answers)

# %% [markdown]
# <details><summary>Hint 1</summary>Start with the questions that you are sure of, and run the check: it says why, also to right answers.</details>
# <details><summary>Hint 2</summary>A wrong answer is told which chapter and section to read again. Change the letter and run both cells.</details>
# <details><summary>Solution</summary>
#
# ```python
# answers = {number: letter for number, letter in enumerate("bdacadcbdbcacb", start=1)}
# ```
#
# </details>

# %% [markdown]
# ## What you saw
#
# - A real series, **properly split**, humbles: 22 of 30 kinds of network beat the linear autoregression on the part that chose them, none on the part that came after.
# - Of the **switches**, the forget bias mattered most where it was chosen, and had the other sign afterwards; clipping did not pay; what helped on the test part, Keras's preset and a learned start, could not have been chosen before. The learning rate and stopping in time mattered about as much.
# - The **recipe** is a start, not a promise. What this book measured elsewhere holds where it was measured: long memories (chapter 02), early steps (03), exploding gradients (04, 05). This series asks for none of them.
#
# **Sources.** The sunspot numbers: National Geophysical Data Center, by way of statsmodels 0.15.0; public domain. A. E. Hoerl, R. W. Kennard, Ridge regression, Technometrics 12 (1970). R. Jozefowicz, W. Zaremba, I. Sutskever, An empirical exploration of recurrent network architectures, ICML 2015 (a forget bias of 1 for every LSTM).
#
# Previous: [05 Gradient clipping](05_gradient_clipping.ipynb) · Start: [00 Start here](00_start_here.ipynb)
