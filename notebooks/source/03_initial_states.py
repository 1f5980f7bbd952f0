# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 Initial states
#
# **Should the initial state be zero, noisy, learned, adaptive or carried over?** People disagree, and mostly quote one blog post. Here the question goes to trial: seven kinds of start, four data sets, 16 seeds each.
#
# In this chapter:
#
# - what the frameworks do, what speaks against it, and **who gains from what**: many short sequences, few, one long text;
# - what **noise** costs and what it buys, and how fast a network forgets its start;
# - how to **learn, carry or infer** a state, and four ways to get it wrong.
#
# 40 minutes to read; under a minute to run on two CPU cores; no GPU needed.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch

import teachkit as tk

tk.seed_everything(0)
tk.plots.use_style()
# %% [markdown]
# ## 1. The state before the first step
#
# A recurrent network computes its state from the last state and the input. Before the first step there is no last state. [People ask](https://stackoverflow.com/questions/49223976/) what the frameworks put there. Zeros, wherever there is a default: PyTorch and Keras where no state is given,
# TensorFlow 1 with `zero_state`, ONNX where `initial_h` is missing. To leave the state out and to pass zeros is the same, bit for bit:

# %%
lstm, x = torch.nn.LSTM(3, 8), torch.randn(5, 4, 3)  # 5 steps, 4 sequences, 3 features
zeros = torch.zeros(1, 4, 8)
output, _ = lstm(x)
explicit, _ = lstm(x, (zeros, zeros))
print("equal:", torch.equal(output, explicit))

# %% [markdown]
# What else could stand there? `tk.LSTM` is PyTorch's own layer with one more argument, `initial_state`:
#
# | strategy | in training | in evaluation |
# |---|---|---|
# | `"zero"` | 0 | 0 |
# | `"noisy"` | noise, N(0, 0.3²), drawn anew for each sequence | 0 |
# | `"learned"` | two more parameters, `h0` and `c0`, the same for all sequences | the same |
# | `"learned+noisy"` | both | the learned state |
# | `"adaptive"` | noise, larger for units whose start matters more to the error | 0 |
# | `"carried"` | where the last batch ended | the same |
#
# **The case against zeros** is Silviu Pitis's (2016). Right after a start a network has seen little, so its losses are large, and they dominate the gradient. If every start looks the same, the network is fitted to just that start. That gets worse the more often the data start anew, he says.
# His remedies are noise, or a start that is learned. What his experiment on one text (Penn Treebank) is said to show has been copied ever since: *non-zero starts speed up training and generalise better; learning the start is better than noise; noise on top of learning adds nothing*.
# And: *many short sequences: learn the start; few long ones: add noise.*
#
# **Predict.** Which of these statements will hold on other data? Note your verdicts; section 11 compares.
#
# ### Exercise 1: how much is there to learn?
#
# *Two minutes.* How many numbers does a learned initial state add to `nn.LSTM(10, 20, num_layers=2, bidirectional=True, proj_size=5)`? (`proj_size` projects the output `h` to so many numbers.)

# %% tags=["exercise", "state_size"]
n = ...

# %%
tk.check.state_size(n)

# %% [markdown]
# <details><summary>Hint 1</summary>There is a state for each layer and each direction.</details>
# <details><summary>Hint 2</summary>h0 is as wide as the output, c0 as wide as the memory cell.</details>
# <details><summary>Solution</summary>
#
# ```python
# n = 4 * 5 + 4 * 20  # h0: proj_size, c0: hidden_size; 2 layers x 2 directions
# ```
#
# </details>

# %% [markdown]
# ## 2. The first steps
#
# Whatever a start does, it does first of all to the first steps. The lab shows an LSTM's loss by *time step since the start*, for zeros and for the strategy of your choice, both trained for 300 updates of Adam at a rate of 0.003, from the same weights on the same batches. (Losses of sunspots are in units of the series' variance, those of letters in nats.)
#
# **Predict.** Monthly sunspots, windows of 10 months, forecast the next month at each step. At which steps will a learned start help: the first, the first three, all ten? And noise?

# %%
tk.labs.first_steps(task="sunspots", strategy="learned")

# %% [markdown]
# (The saved page shows three settings below each other: as the lab opens, and 16 names with a learned and with a noisy start.) Left: the held-out loss by time step, means of 16 seeds. Middle: the difference to zeros, seed by seed, with its 95 % interval; below 0 is better. Right: the whole window's loss while training. The thin lines are one seed's pair, which `seed` chooses. All this was computed beforehand; **Train now** repeats it with 16 fresh seeds.
#
# The learned start gains 0.05 at step 1, a quarter of that step's loss, loses 0.004 again at step 2, and changes hardly anything from step 3 on: by then the network has seen enough. Over the whole window 0.005 is left of the gain.
#
# **Move**, one at a time, and *Reset* in between:
#
# 1. `strategy`: noisy, and drag `noise std` from 0.1 to 1. At 0.3 the first step gets no better; at 1 it gets worse, by 0.03, and so does every step after it.
# 2. `window length`: 5, 10, 20. The *shorter* the window, the *less* the learned start gains: 0.007 at step 1 in windows of 5, 0.14 in windows of 20. In a short window the first step is a larger share of the loss, so a network that starts at zero learns to cope with it sooner.
# 3. `task`: names, `sequences`: 16. The right panel shows networks that learn 16 names by heart. Now the learned start is *worse* at step 1, by 0.56 nats; over the whole name it is 0.04 ahead. Then `strategy`: noisy, `noise std`: 1. That is worse at step 1 as well, by 0.27, and far better over the whole name, by 0.39 (section 5).
# 4. `hidden_size`: 8, back on sunspots. Everything is larger here: the learned start gains 0.14 at step 1, and now noise of 0.3 *lowers* that step's loss a little.
# 5. Press **Train now**. Do 16 other seeds agree?

# %% [markdown]
# ## 3. Many sequences: four data sets
#
# **The experiment.** LSTMs on four tasks: spell first names letter by letter (4,131 names of up to 11 letters, 32 units), forecast sunspots (windows of 20 months, 16 units), name a handwritten digit from its 8 rows (1,438 images, 32 units), and spell Shakespeare in windows of 10 characters (64 units); in pictures the last two are "digit rows" and "characters".
# Adam, clipping at norm 1, five learning rates, 400 to 1,500 updates, 16 seeds; every variant has the same weights and batches as its rival with zeros. The loss is held out: nats per letter or per image, or the mean squared error in units of the series' variance.
#
# **Predict.** A learned start, and noise: will they end better than zeros at all learning rates, at some, at none?

# %%
states = tk.load_results("states")
last = {task: f"at_{steps}" for task, _, _, steps, _ in tk.experiments.STATES["cases"]}
shown = ["learned", "noisy 0.3", "noisy 1"]
figure, axes = plt.subplots(1, 4, figsize=(9.6, 3.1))
for ax, (task, own) in zip(axes, states.groupby("task", sort=False), strict=True):
    own = own[own["variant"].isin(["zero", *shown])]
    tk.plots.difference_curves(ax, tk.experiments.gains(own, last[task], ["lr"]), "lr")
    ax.set(xscale="log", title=task, xlabel="learning rate", xticks=[0.001, 0.01, 0.1])
axes[0].set_ylabel("loss at the end, against zeros")
figure.legend(*axes[0].get_legend_handles_labels(), ncols=3, loc="upper center")
figure.tight_layout(rect=(0, 0, 1, 0.93))
tk.show(
    "Loss at the end against zeros, by learning rate, on four tasks. At a rate of 0.001 the "
    "learned start is 0.015 better on sunspots; at 0.01 that gain is gone. On characters noise of "
    "1 falls further behind as the rate grows."
)

# %%
zeros = states[states["variant"] == "zero"].groupby("task", sort=False)
pd.DataFrame({task: own.groupby("lr")[last[task]].mean() for task, own in zeros}).T.round(3)

# %% [markdown]
# Below 0 is better than zeros; bands are 95 % intervals. The table has the losses of zeros themselves, by learning rate.
#
# The answer depends on the learning rate. At 0.001, Adam's usual rate, a learned start gains a tenth of the loss on sunspots (0.015 of 0.153), and noise helps a little on digits and Shakespeare; but a learned start ends a little *behind* zeros on names and on Shakespeare, and at 0.003 it is 0.016 behind on Shakespeare. At the rate at which zeros end best (0.01 for names and sunspots, 0.03 for digits and Shakespeare) no gain is left:

# %%
runs = tk.experiments.runs_at_best_rate(states, last)
figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.7), sharey=True)
for ax, (task, own) in zip(axes, runs.groupby("task", sort=False), strict=True):
    rows = tk.experiments.gains(own, last[task], ["task"])
    tk.plots.differences(ax, rows, "variant", "loss", lower_is_better=True)
    ax.set_title(task)
figure.suptitle("loss at the end, against zeros, at the best rate of zeros", fontsize=11)
figure.tight_layout()
tk.show(
    "Loss at the end against zeros, six starts on four tasks, with 95 % intervals. No interval of "
    "the 24 lies below zero; nine lie above it, most of these on characters, and noise of 1 is "
    "the worst of all."
)

# %% [markdown]
# Of these 24 comparisons *none* ends better than zeros, by its 95 % interval; nine end worse, and noise is in eight of them. A better rate than 0.001, in contrast, is worth 0.17 nats on names, 0.39 on Shakespeare and 0.57 on digits. (The rate is chosen for zeros. With every strategy at its own best rate none wins either, though a learned start comes close on sunspots.)
#
# How sure is that? The intervals are about seeds, with one split of each data set. On digits they are wide: they cannot exclude a gain of a sixth. On Shakespeare a gain of more than 0.004 is excluded for all of them.
#
# **Verdict on "non-zero starts generalise better":** not shown on these four tasks, once the learning rate suits zeros. (On average these networks do not overfit: their mean losses are at their lowest, or within 1 % of it, when training ends. Section 5 has some that do.) At rates that are too small a learned start can gain a lot (sunspots), nothing (names) or lose (Shakespeare).
#
# **And speed?** Each run is measured by the updates it takes to a loss at which zeros have made 90 % of all they gain:

# %%
speed = tk.experiments.speed(runs, ["task"])
speed["difference"] = 100 * (speed["ratio"] - 1)
speed[["low", "high"]] = 100 * (speed[["low", "high"]] - 1)
figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.7), sharey=True)
for ax, (task, rows) in zip(axes, speed.groupby("task", sort=False), strict=True):
    tk.plots.differences(ax, rows, "variant", "updates, %", lower_is_better=True)
    ax.set_title(task)
figure.suptitle(
    "updates to 90 % of the gain, against zeros, at the best rate of zeros", fontsize=11
)
figure.tight_layout()
tk.show(
    "Updates to 90 % of the gain against those of zeros, in percent, with 95 % intervals. The "
    "learned start saves a few percent on sunspots and names; noise of 1 costs many on names and "
    "characters; on the digits nothing can be told."
)

# %% [markdown]
# Why 90 %? That choice matters. Here is what the *learned* start saves (percent of the updates, with 95 % intervals) on the way to 80, 90, 95 and 98 %:

# %%
saved = {}
for name, table in {"0.001": states[states["lr"] == 0.001], "best": runs}.items():
    own = table[table["variant"].isin(["zero", "learned"])]
    for share in (0.8, 0.9, 0.95, 0.98):
        for row in tk.experiments.speed(own, ["task"], share=share).to_dict("records"):
            percent = [100 * (1 - row[end]) for end in ("ratio", "high", "low")]
            saved[name, row["task"], share] = "{:.1f} ({:.1f}, {:.1f})".format(*percent)
pd.Series(saved).rename_axis(["rate", "task", "share"]).unstack()

# %% [markdown]
# At a rate of 0.001 the learned start is ahead on the first part of the way, on three of four tasks. On sunspots it stays ahead, ever more: 5 % at 90 % of the gain, 21 % at 98 %, and at the best rate 3 % and 21 %. On names and Shakespeare the lead is lost before the end; at the best rate it saves 2 % on names up to 90 %, and on Shakespeare it costs time.
# Noise of 1 costs 16 % of the updates on names and 33 % on Shakespeare, at the best rate.
#
# Verdicts:
#
# - **"non-zero starts speed up training":** a *learned* start does at a rate of 0.001, early on, on three of four tasks; at the best rates on sunspots and a little on names. Noise does not, at the best rates.
# - **"a learned start is better than noise":** holds on sunspots, up to a rate of 0.01. On digits up to 0.01 and on Shakespeare up to 0.003 noise of 0.3 ends *ahead* of it, and on names the two cannot be told apart.
# - **"noise on top of a learned start adds nothing":** holds at the best rates, where it never helps and does harm on sunspots and Shakespeare; at 0.001 and 0.003 it did help on digits and Shakespeare.

# %% [markdown]
# ## 4. Where in the sequence?
#
# **Predict.** It is said that noise lowers the loss of the first step. Does it?

# %%
slow = states[states["lr"] == 0.001]
figure, axes = plt.subplots(2, 3, figsize=(9.6, 4.6), sharex="col", layout="constrained")
for row, (name, table) in zip(axes, {"rate 0.001": slow, "best rate": runs}.items(), strict=True):
    for ax, task in zip(row, ["names", "sunspots", "characters"], strict=True):
        own = table[(table["task"] == task) & table["variant"].isin(["zero", *shown])]
        rows = tk.experiments.gains_by_time(own, ["task"])
        tk.plots.difference_curves(ax, rows[rows["t"] <= 8], "t")
        ax.set(title=f"{task}, {name}", xlabel="", xticks=[1, 2, 4, 6, 8])
    row[0].set_ylabel("loss against zeros")
figure.supxlabel("time step since the start", fontsize=10)
figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=3, loc="outside upper center")
tk.show(
    "Loss against zeros at the first eight time steps. Above, at a rate of 0.001, the learned "
    "start gains at step 1, on sunspots 0.24, and little later. Below, at the best rate, no gain "
    "at step 1 is left and noise of 1 starts behind zeros."
)

# %% [markdown]
# At the small rate a learned start gains at step 1: 0.24 on sunspots, 0.06 nats on Shakespeare, 0.007 on names. It gains little after that, and from step 3 on it is even a little behind on names and Shakespeare. At the best rates zeros have caught up: no gain at step 1 is left, and on Shakespeare the learned start is 0.03 *behind* there. A likely reason: what a better start tells the first step, the weights and biases can tell it as well, given time or a larger rate.
#
# Noise of 1 lowers the first step's loss at the small rate by 0.02 on sunspots and 0.03 on Shakespeare, and raises it on names. At the best rates it raises it on all three, and so does noise of 0.3.
#
# **Verdict on "noise lowers the loss of the first step":** at the best rates the opposite holds, on all three tasks; at a rate that is too small it holds on two of them.

# %% [markdown]
# ## 5. Few sequences, short windows
#
# **Predict.** "With few sequences a learned start overfits their beginnings." From how many sequences on is it safe?

# %%
first = tk.load_results("first_steps").query("hidden_size == 32 and seq_len in [10, 12]")
rows = tk.experiments.gains(
    first[first["variant"].isin(["zero", "learned"])], "t_1", ["task", "sequences"]
)
figure, axes = plt.subplots(1, 3, figsize=(9.6, 2.4), sharey=True)
for ax, (task, own) in zip(axes, rows.groupby("task", sort=False), strict=True):
    own = own.replace({"sequences": {0: "all"}})
    tk.plots.differences(ax, own, "sequences", "loss of step 1", lower_is_better=True)
    ax.set_title(task)
axes[0].set_ylabel("training sequences")
figure.suptitle("learned start against zeros, at the first step, 95 % intervals", fontsize=11)
figure.tight_layout()
tk.show(
    "What a learned start changes in the loss of step 1, with 95 % intervals. With 16 training "
    "sequences it is worse on all three tasks, with 128 better on two of them, with 1,024 and "
    "with all better on all three."
)

# %% [markdown]
# (32 units, after 300 updates at 0.003, as in the lab.) With 16 sequences the learned start is worse at step 1, on all three: by 0.61 nats on Shakespeare, by 0.56 on the names. With 128 it has turned to a gain on two of three; with 1,024 on all. A start of 64 numbers (32 for `h0`, 32 for `c0`) is learned from as many examples as there are sequences, however long they are: `tk.reset_ratio(lengths, model)` counts them for your data.
#
# **Verdict on "few sequences: a learned start overfits their beginnings":** holds for the first step, with 16 sequences. Over the whole sequence the learned start does no harm even there: on the names it is 0.04 ahead, on the others level.
#
# By then, however, networks with 16 sequences have overfitted everything. Once more over the whole sequence, at the best of the seven moments at which each run was measured (a flattering kind of early stopping, for all alike), and with noise beside it:

# %%
best = first.assign(best=first.filter(like="at_").min(axis=1))
rows = tk.experiments.gains(
    best[best["variant"].isin(["zero", "learned", "noisy 0.3", "noisy 1"])],
    "best",
    ["task", "sequences"],
)
rows["result"] = [
    f"{d:+.3f} ({low:+.3f}, {high:+.3f})"
    for d, low, high in rows[["difference", "low", "high"]].to_numpy()
]
wide = rows.pivot(index=["task", "sequences"], columns="variant", values="result")
wide.reindex([16, 128, 1024, 0], level="sequences").rename(index={0: "all"})

# %% [markdown]
# (Differences to zeros with their 95 % intervals.) Stopped in time, a learned start is ahead even with 16 sequences: by 0.04 nats on Shakespeare, by 0.01 on the names. Where texts are few, noise of 1 helps: by 0.06 nats with 16 windows of Shakespeare, by 0.07 with 128; by 0.02 with 128 names. With all names it does harm, by 0.02. On sunspots noise of 0.3 gains 0.002 with 16 windows and nothing with more.
# Without stopping the gains are larger where networks overfit: after 300 updates noise of 1 is 0.39 nats ahead on 16 names, and 0.015 on 16 windows of sunspots, a tenth of the loss.
#
# (A rate of 0.003 is smaller than the best ones of section 3. That is why even "all" shows some gains here that are not there at the best ones.)
#
# **Verdict on "few sequences: add noise":** holds, as a *regulariser*: for texts with up to 128 sequences, for sunspots with 16.

# %% [markdown]
# ## 6. One long text
#
# A long series is cut into windows for training (*truncated backpropagation through time*). Between two windows there is a choice: *reset* the state (zero, noisy, learned), or *carry* it on from the window before.
#
# **The experiment.** Shakespeare's tragedies as 32 parallel streams, windows of 5, 10 or 25 characters, 64 units, 600 updates, the best of four learning rates for zeros (0.03), 16 seeds. Two examinations on held-out text: *cold starts* (each window alone, from the network's own start; for carried from zero) and a *long run*
# (5,000 characters in each of four streams, the state carried on by everyone).
#
# **Predict.** Who wins the long run, who wins the cold starts? And how does that change from windows of 5 to 25?

# %%
streams = tk.load_results("streams")
streams["task"] = streams["seq_len"].map("windows of {}".format)
figure, axes = plt.subplots(2, 3, figsize=(9.6, 4.2), sharey=True, sharex="row")
for row, column in zip(axes, ["long_run", "cold"], strict=True):
    own = tk.experiments.runs_at_best_rate(streams, dict.fromkeys(streams["task"], column))
    rows = tk.experiments.gains(own, column, ["task"])
    for ax, (name, group) in zip(row, rows.groupby("task", sort=False), strict=True):
        tk.plots.differences(ax, group, "variant", "loss", lower_is_better=True)
        ax.set_title(f"{'long run' if column == 'long_run' else 'cold starts'}, {name}")
figure.tight_layout()
tk.show(
    "Loss against zeros with windows of 5, 10 and 25. Above, the long run: a carried state wins "
    "with 5 and 10. Below, cold starts: a carried state loses with all three. Noise of 1 loses in "
    "all six panels."
)

# %% [markdown]
# Carrying the state on wins the long run, by 0.037 nats with windows of 5 and by 0.020 with windows of 10, and loses the cold starts, by 0.13 and 0.06: such a network has hardly ever seen a start. Both shrink with the window: with 25 characters carrying no longer gains anything that could be told from 0, and still loses 0.04. (At a rate of 0.01 it gains 0.012 there, too.)
#
# A learned start changes nothing in the long run, and loses 0.012 and 0.008 in the cold starts with windows of 5 and 10. Noise is meant to prepare for states other than zero; but in the long run noise of 0.3 *costs* 0.017 and 0.010 with windows of 5 and 10. Only at smaller rates did noise gain something there: 0.009 with windows of 10 (noise of 0.3 at 0.003), 0.013 with 25 (noise of 1 at 0.003).
#
# **Verdict on "with zeros at every reset a network is tuned to zeros, the more so the more often it is reset; later steps suffer":** not shown. In the long run the network with zeros is behind the carried one, and the more often it was reset, the further. But a carried state also brings more of the past into training, which explains the same. And noise, which would break the habit without bringing any past, does not help.

# %% [markdown]
# **Train now.** Four seeds, 300 updates of windows of 5. That is enough to see what carrying does to cold starts, and too little for more. Change the window, the variants or the steps, and run it again.

# %%
starts = {name: {"initial_state": name} for name in ("zero", "noisy", "learned", "carried")}
options = {"seeds": 4, "steps": 300, "score_every": 300, "test_size": 1000, "lr": 0.01}
table = tk.compare(tk.Characters(5), starts, stream=True, **options)
found = tk.paired_differences(table, "zero", metric="test_loss")
found[["variant", "difference", "low", "high"]].round(3)

# %% [markdown]
# ## 7. What noise buys, and how much of it
#
# **Predict.** Networks that were trained from zero, noisy and learned starts are now started from a *wrong* state: N(0, 1) noise, or what another sequence left over because somebody forgot to reset. Which of them suffers least?

# %%
harm = tk.experiments.harm(tk.load_results("perturbed"))
shown = ["zero", "noisy 0.3", "noisy 1", "learned", "learned+noisy 0.3"]
palette = {name: tk.plots.color_of(name) for name in shown}
figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2))
for ax, (task, own) in zip(axes, harm.groupby("task", sort=False), strict=True):
    sns.pointplot(
        own, x="perturbation", y="harm", hue="variant", hue_order=shown, palette=palette,
        dodge=0.5, linestyle="none", markersize=5, err_kws={"linewidth": 1.6}, seed=0, ax=ax,
    )  # fmt: skip
    ax.set(title=task, xlabel="start disturbed by", ylabel="loss added" if task == "names" else "")
    labels = ax.get_legend_handles_labels()
    ax.get_legend().remove()
figure.legend(*labels, ncols=5, loc="upper center")
figure.tight_layout(rect=(0, 0, 1, 0.93))
tk.show(
    "Loss added by a wrong start: small or large noise, or a state left over. On names, sunspots "
    "and characters networks trained with noise of 1 suffer least from noise, those trained from "
    "zero or from a learned start most; a state left over costs more than any noise here, and "
    "there the order is less clear."
)

# %% [markdown]
# N(0, 1) noise on the start costs a network that was trained from zeros 0.15 nats on the names, one trained with noise of 0.3 less than half of that, one trained with noise of 1 less than a tenth; on sunspots and Shakespeare the order is the same. A state left over from another name costs 1.05 nats after training from zeros, 0.38 with noise of 1; one from another time of the sunspots 0.05 and 0.02.
# A learned start alone gives no such protection. With noise around it (0.3) it is better protected against noise than a noisy zero, and on names and sunspots worse against left-over states. (All trained at a rate of 0.003.)
#
# **Verdict on "noise makes a network insensitive to its start" (Zimmermann, Tietz and Grothmann's purpose):** holds, on all three.
#
# **How to choose the mean and the standard deviation?** The mean: zero or learned, that hardly matters. The standard deviation: as large as the disturbance that you expect, no larger, for noise has its price: at the best rates of section 3 noise of 0.3 cost 0.002 on sunspots and 0.015 nats on Shakespeare, noise of 1 cost 0.004 and 0.076, and 0.06 on digits; on names neither cost anything.
# The third way is a rule:
#
# ### Exercise 2: adaptive noise
#
# *Four minutes.* H.-G. Zimmermann, C. Tietz and R. Grothmann (2012) let the size of the noise follow the error that is propagated back to the initial state. (It is one of their "12 tricks" for forecasting; texts that quote it call it the third or the fourth.) Here is one reading of it: each unit gets noise in proportion to the root mean square of its gradients $\partial E/\partial h_0$ over the batch,
# and the largest unit gets 0.3. Without a gradient there is no noise.


# %% tags=["exercise", "noise_std"]
def noise_std(gradients):
    """Return the std of the noise for each unit, (H,), from dE/dh0 of a batch, (B, H)."""
    return ...


# %%
tk.check.noise_std(noise_std)

# %% [markdown]
# <details><summary>Hint 1</summary>Gradients of different sequences have different signs. Square them before you take the mean over the batch, and take the root after it.</details>
# <details><summary>Hint 2</summary>Divide by the largest unit's value. What if that is 0?</details>
# <details><summary>Solution</summary>
#
# ```python
# def noise_std(gradients):
#     rms = gradients.square().mean(0).sqrt()
#     return torch.nan_to_num(0.3 * rms / rms.max())  # 0 where no gradient is
# ```
#
# </details>

# %% [markdown]
# ## 8. Where does the state go?
#
# A start can only matter while the network remembers it. How long is that?
#
# **Predict.** A tanh network with 64 units and spectral radius 0.9, without input: after how many steps is a tenth of the difference left that a noisy start made? And at a radius of 1.5?

# %%
tk.labs.trajectories(rho=0.9, hidden_size=64)

# %% [markdown]
# (The saved page shows three settings below each other: as the lab opens, radius 1.5, and the network of move 3.) Left: where the state goes, in the plane of its two main directions: from zero, from a learned start where there is one, and from eight noisy ones. Right: how much is left of the difference to the path from zero; dashed is $\rho^t$, what the largest eigenvalue alone would leave. (The plane is that of the two *principal components*, the directions in which the states spread most; the picture says how much of the spread it shows.)
#
# **Move**, one at a time, and *Reset* in between:
#
# 1. Drag `rho`. At 0.9 a tenth of the difference is left after 12 to 22 steps, at 0.7 after 5 to 7. At 1 it lingers; from 1.2 on the start is never forgotten: every start leads somewhere else.
# 2. `rho = 1.2`, and switch `input` on. A tenth is left after 4 to 14 steps: under the same input all paths come together. At 1.5 it takes 7 to 34. (These numbers are from twenty random networks with 64 units.)
# 3. `network`: trained on sunspots, `input` on. This network was trained with a learned start (blue). Nine tenths of any difference are gone within 4 or 5 steps, with all 16 seeds, also where `rho` is above 1.
# 4. `network`: counterexample. It is that of chapter 04: from zero the gradient dies, near (0, 1/2) it doubles at every step. So does any difference between two starts there, until it is as large as the states themselves. (The noise is a millionth of `noise std` here.) Press *Reset* afterwards.
#
# This is why starts matter so little in sections 3 and 4: what a network forgets within five steps cannot help it later. (In networks with fixed random weights, *reservoirs*, forgetting the start is called the echo state property. A radius below 1 is not sufficient for it, and with input one above 1 does not rule it out.)
#
# And it is why the start can matter for the gradient: chapter 04 has a network whose gradient explodes from one initial state and vanishes from another.

# %% [markdown]
# ## 9. Learned states done wrong
#
# A learned start takes ten lines, and each of them has its trap. Most of these traps raise no error.
#
# ### Exercise 3: the size of the batch
#
# *Three minutes.* `h0` and `c0` are parameters of shape (1, 1, H) beside an `nn.LSTM` with one layer. Give it its states for a batch `x`, whose layout `batch_first` tells.


# %% tags=["exercise", "learned_start"]
def start(h0, c0, x, batch_first):
    """Return the initial states for a batch x, from h0 and c0 of shape (1, 1, H)."""
    return ...


# %%
tk.check.learned_start(start)

# %% [markdown]
# <details><summary>Hint 1</summary>x is (B, T, I) where batch_first is true, and (T, B, I) otherwise. The states are (1, B, H) in both cases.</details>
# <details><summary>Hint 2</summary><code>h0.expand(1, B, -1)</code> repeats without a copy; <code>.contiguous()</code> makes one, which cuDNN wants. Never <code>.detach()</code>: then nothing is learned.</details>
# <details><summary>Solution</summary>
#
# ```python
# def start(h0, c0, x, batch_first):
#     B = x.size(0) if batch_first else x.size(1)
#     return h0.expand(1, B, -1).contiguous(), c0.expand(1, B, -1).contiguous()
# ```
#
# </details>

# %% [markdown]
# ### Exercise 4: spot the bugs
#
# *Five minutes.* A layer that learns its start, and a loop that trains it on long series. `x` is (16, T, 3): 16 series side by side, cut into windows; `train` reads one window after the other, and `windows` belong to one pass. PyTorch runs it without complaint. Three lines are wrong, and one of them hides another. Which?
#
# ```text
#  1  class LearnedStart(nn.LSTM):
#  2      def __init__(self, input_size, hidden_size):
#  3          super().__init__(input_size, hidden_size, batch_first=True)
#  4          self.h0 = nn.Parameter(torch.zeros(1, 1, hidden_size))
#  5          self.c0 = nn.Parameter(torch.zeros(1, 1, hidden_size))
#  6      def forward(self, x, state=None):
#  7          if state is None:
#  8              B = x.size(1)
#  9              state = tuple(s.expand(-1, B, -1).contiguous() for s in (self.h0, self.c0))
# 10          return super().forward(x, state)
# 11  def train(lstm, head, optimizer, windows):
# 12      state = (torch.zeros(1, 16, 32), torch.zeros(1, 16, 32))
# 13      for x, target in windows:
# 14          _, (h, c) = lstm(x, state)
# 15          loss = (head(h[-1]) - target).square().mean()
# 16          optimizer.zero_grad()
# 17          loss.backward()
# 18          optimizer.step()
# 19          state = (c.detach(), h.detach())
# ```

# %% tags=["exercise", "spot_the_bugs"]
lines = ...  # such as {1, 2, 3}

# %%
tk.check.spot_the_bugs(lines)

# %% [markdown]
# <details><summary>Hint 1</summary>Which of the lines 7 to 9 does <code>train</code> ever reach?</details>
# <details><summary>Hint 2</summary>What does nn.LSTM return, (h, c) or (c, h)? And which dimension of x counts the series?</details>
# <details><summary>Solution</summary>
#
# ```python
# lines = {8, 12, 19}
# ```
#
# Line 12 passes zeros, so the learned start is never used: its gradient stays None, and nothing says so. With `state = None` line 8 is reached, which takes the number of time steps for the number of series: no error when they are equal. And line 19 hands on (c, h) where PyTorch, Keras, Haiku and
# Equinox say (h, c); TensorFlow 1 and Flax say (c, h). (With line 12 repaired, line 8 raises an error for windows of any other length than 16.)
#
# </details>

# %% [markdown]
# Three more traps that a popular class falls into, which subclasses `nn.LSTM` and adds two parameters: `reset_parameters()`, called later, loops over *all* parameters and overwrites the learned start with U(±1/√H); with `proj_size` the shape of `h0` is wrong; and a `PackedSequence` has no `.size`. `tk.LSTM` knows all of them.
#
# Weight decay pulls a learned start towards zero, too. Mamba-2 exempts its own from it, and `tk.parameter_groups` does.
#
# ### Exercise 5: its own learning rate
#
# *Four minutes.* A model somewhere holds a `tk.LSTM(..., initial_state="learned")`. Give `torch.optim.AdamW(groups(model), lr=1e-3, weight_decay=0.1)` parameter groups in which `h0` and `c0` learn ten times as fast and without weight decay. (Other parameters may have h0 or c0 in their names as well.)


# %% tags=["exercise", "state_groups"]
def groups(model):
    """Return parameter groups for torch.optim.AdamW."""
    return ...


# %%
tk.check.state_groups(groups)

# %% [markdown]
# <details><summary>Hint 1</summary>A group is a dict: {"params": [...], "lr": ..., "weight_decay": ...}; what it leaves out comes from the optimiser.</details>
# <details><summary>Hint 2</summary>Names look like "encoder.rnn.h0": look at what stands after the last dot.</details>
# <details><summary>Solution</summary>
#
# ```python
# def groups(model):
#     states, rest = [], []
#     for name, parameter in model.named_parameters():
#         is_state = name.split(".")[-1] in ("h0", "c0")
#         (states if is_state else rest).append(parameter)
#     return [{"params": rest}, {"params": states, "lr": 1e-2, "weight_decay": 0.0}]
# ```
#
# `return tk.parameter_groups(model, state_lr=1e-2)` does the same.
#
# </details>

# %% [markdown]
# ### Questions that come up
#
# | question | answer |
# |---|---|
# | where do `h0` and `c0` begin to learn? | at zero, as everything above did; `tk.LearnedState(init_std=0.1)` draws them |
# | several layers, both directions, GRUs, cells? | the same argument; a learned state has a row for each layer and direction, and `layers=(0,)` leaves the others at zero |
# | padded batches? | a start comes before the padding and does not care. A carried state is the one *after* it: pack the sequences (`pack_padded_sequence`), which `tk.LSTM` takes as well |
# | the last batch is smaller? | a carried state refuses it and says so: drop that batch, or evaluate inside `with tk.fresh_states(model):` |
# | encoder and decoder? | the decoder's start is inferred by the encoder, so there is nothing to choose |

# %% [markdown]
# ## 10. Modern relatives
#
# **State tuning.** RWKV is a language model that runs as a recurrent network; it can be adapted to a new task by training nothing but its initial state, at learning rates from 1 down to 0.01 ("very high", its authors note). Mamba-2, another such model, has learnable initial states as an option; they begin at zero.
#
# **The experiment.** LSTMs with 64 units learned Shakespeare's words (chapter 02). Their weights now stay as they are; `h0` and `c0`, 128 numbers, learn first names for 300 updates. 16 seeds.
#
# **Predict.** Which learning rate does it take: 0.001, 0.01, 0.1 or 1? And how near does it come to training all weights?

# %%
tuning = tk.load_results("state_tuning")
before, after = tuning["at_0"].mean(), tuning.groupby(["size", "state_lr"])["at_300"].mean()
print(f"before tuning: {before:.3f} nats per letter; after 300 updates:")
after.unstack().round(3)

# %% [markdown]
# It takes a high one: at 0.1, the best of the four, tuning lowers the loss by 0.18 nats with all names and by 0.10 with 50; at 0.001 by 0.05 and 0.04. (300 steps of Adam at 0.001 cannot move a number by more than about 0.3; with more updates the small rate would do better.) That is far from what training all 25,563 numbers does (to 1.97 with all names, to 2.50 with 50, which validation had to stop in time: chapter 02).
# But nothing had to be stopped here: with 50 names the loss of 128 numbers has levelled off after 300 updates, and has not risen.
#
# **Verdict on "tune the state at a very high rate" (RWKV):** holds for a short tuning: 0.1 and 1 beat 0.001 clearly.
#
# In training from scratch a higher rate for the state changes what it saves, too. Weights at 0.003, and updates to 90 % of the gain of zeros, as in section 3:

# %%
rates = tk.load_results("state_rates").astype({"variant": str})
found = tk.experiments.speed(rates, ["task"])
found["updates"] = 100 * (found["ratio"] - 1)
found.pivot(index="task", columns="variant", values="updates").round(1)

# %% [markdown]
# (Percent more updates than zeros take, so negative is better; columns are the learning rates of the state.) On sunspots a state that learns ten times as fast as the weights saves 15 % of the updates instead of 4 %, on Shakespeare 4 % instead of 2 %, on names as little as before. A thousand times as fast does harm on all three, a hundred times on Shakespeare.
#
# **A state that is inferred.** One learned start for all sequences cannot know where in the cycle a series stands. N. Mohajerin and S. Waslander (2017) let a small network *infer* the state from what came before. `tk.InferredState` is such a network. Its rival is the oldest trick, the *warm-up*: let the network read the past, and leave what it says meanwhile out of the loss.
#
# **Predict.** Forecasts over windows of 20 steps; the 20 values before are known. Which start wins at step 1? And at step 20?

# %%
inferred = tk.load_results("inferred")
judged = dict.fromkeys(["sunspots", "seattle temperatures"], "loss")
own = tk.experiments.runs_at_best_rate(inferred, judged)
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.0))
for ax, (task, runs10) in zip(axes, own.groupby("task", sort=False), strict=True):
    long = tk.experiments.melted(runs10, "t_", "t")
    tk.plots.curves_with_intervals(ax, long, "loss", tk.experiments.INFERRED["starts"], x="t")
    ax.set(title=task, xlabel="time step since the start", ylabel="held-out loss")
    ax.set_xticks([1, 5, 10, 15, 20])
axes[1].set_yscale("log")
figure.tight_layout()
tk.show(
    "Held-out loss by time step. At step 1 the starts that know the past, inferred and warm-up, "
    "are far below zero and learned; on sunspots they stay below for 20 steps, on the "
    "temperatures all four soon draw together."
)

# %% [markdown]
# (LSTMs with 16 units, 600 updates, the better of two learning rates for zeros, 16 seeds; the right axis is logarithmic.) Whoever knows twenty more values should win, and does: the past lowers the loss of the whole window by 7 to 8 % on sunspots and by 40 % on the temperatures. At step 1 the warm-up is ahead of the inferred state on both; from step 2 on the inferred state is level with it or a little ahead,
# and costs one pass of a small network instead of 20 steps.
#
# The learned start knows no past, and yet gains here, too: 1 % on sunspots, and 16 % on the temperatures. (The best rate for zeros is the larger of two here, 0.01. So this agrees with section 3: where a rate is not the best one, a learned start can help.)
#
# **Verdict on "infer the state from what came before":** holds, and the warm-up, which needs nothing new, is as good.

# %% [markdown]
# ## 11. What two pages say, and what holds
#
# The [answer](https://stackoverflow.com/questions/49223976/) on TensorFlow's defaults goes on to the choice of the state, and a much-copied Chinese page on learned `h0` and `c0` in PyTorch sums up Pitis's post. Their statements, one by one:
#
# | statement | verdict |
# |---|---|
# | a zero state is good practice where few outputs feel it | holds: at the best learning rates nothing clearly beat it on four tasks (section 3) |
# | zero in each batch overfits to zero, the more so the more often states are reset; later steps suffer | not shown: zeros are behind a carried state in long runs, but noise, the remedy, does not help (section 6) |
# | a noisy start lowers the loss of the first step | does not hold at the best rates: it raises it (section 4) |
# | non-zero starts speed up training | a learned one early on at small rates, on three of four tasks; on sunspots at the best rate, too (section 3) |
# | non-zero starts generalise better | not shown at the best rates, in 24 of 24 comparisons (section 3); noise does where networks overfit (section 5) |
# | a learned start is better than a noisy one | holds on sunspots; the reverse on digits and Shakespeare, at small rates (section 3) |
# | noise on top of a learned start gains nothing | holds at the best rates (section 3) |
# | many short sequences: a learned start speeds up training | holds on names, by 2 to 3 % up to 90 % of the gain (section 3) |
# | few sequences: a learned start cannot be learned | holds only if training goes on too long: with 16 sequences it is then worse than zeros at step 1; stopped in time it is ahead (section 5) |
# | few long sequences: noise speeds up training | it regularises: texts with up to 128 sequences, sunspots with 16 (section 5) |
# | nobody says how to choose the mean and the standard deviation of the noise | the mean hardly matters; the standard deviation: that of the disturbance to come (section 7) |
# | the size of the noise can follow the error (Zimmermann's trick) | with 0.3 for the largest unit it cannot be told from noise of 0.3 on three tasks at the best rates, and costs less on sunspots, as smaller noise does (section 3) |
# | a class with two extra parameters learns its start | only if no state is passed: the page's own demo passes one, and `init_h.grad` stays None (section 9) |

# %% [markdown]
# ## Recipe
#
# **PyTorch, drop-in.** `tk.LSTM(input_size, hidden_size, batch_first=True, initial_state="learned")` in place of `torch.nn.LSTM(...)`, and `torch.optim.AdamW(tk.parameter_groups(model), ...)`. Everything else stays; plain weights load.
#
# **PyTorch, by hand.** A learned start:
#
# ```python
# class LearnedStart(torch.nn.Module):
#     def __init__(self, input_size, hidden_size, num_layers=1):
#         super().__init__()
#         self.lstm = torch.nn.LSTM(input_size, hidden_size, num_layers, batch_first=True)
#         self.h0 = torch.nn.Parameter(torch.zeros(num_layers, 1, hidden_size))
#         self.c0 = torch.nn.Parameter(torch.zeros(num_layers, 1, hidden_size))
#
#     def forward(self, x, state=None):  # x (B, T, input_size)
#         if state is None:
#             h0 = self.h0.expand(-1, x.size(0), -1).contiguous()  # cuDNN wants it contiguous
#             c0 = self.c0.expand(-1, x.size(0), -1).contiguous()
#             state = (h0, c0)
#         return self.lstm(x, state)
# ```
#
# Its optimiser, which spares the states weight decay:
#
# ```python
# states = [model.h0, model.c0]
# rest = [p for name, p in model.named_parameters() if name not in ("h0", "c0")]
# optimizer = torch.optim.AdamW(
#     [{"params": rest}, {"params": states, "weight_decay": 0.0}], lr=1e-3, weight_decay=0.1
# )
# ```
#
# A noisy start, in training only (one direction, no `proj_size`):
#
# ```python
# def noisy_start(lstm, x, std=0.3):  # x (B, T, input_size)
#     if not lstm.training:
#         return None
#     noise = std * torch.randn(2, lstm.num_layers, x.size(0), lstm.hidden_size, device=x.device)
#     return noise[0], noise[1]  # h0, c0
#
#
# output, state = lstm(x, noisy_start(lstm, x))
# ```
#
# Truncated backpropagation with a carried state; `begins` (B,) is true where a new document begins in that row of the batch:
#
# ```python
# state = None
# for x, target, begins in windows:  # x (B, T, input_size)
#     if state is not None:
#         state = tuple(torch.where(begins[:, None], 0.0, s.detach()) for s in state)
#     output, state = lstm(x, state)
#     loss = loss_function(head(output), target)
#     optimizer.zero_grad()
#     loss.backward()
#     optimizer.step()
# ```
#
# (Where a learned start is combined with carrying, put `model.h0` and `model.c0` in the place of `0.0`.) A warm-up, and a state that is inferred from the past:
#
# ```python
# output, _ = lstm(torch.cat([past, x], dim=1))  # (B, past + T, input_size)
# output = output[:, past.size(1) :]  # only this part goes into the loss
#
# infer = tk.InferredState(lstm, context_size=past.size(1) * past.size(2))
# output, _ = lstm(x, infer(past.flatten(1)))  # train infer's parameters as well
# ```
#
# State tuning of a trained `LearnedStart`: nothing but `h0` and `c0` learns.
#
# ```python
# model.requires_grad_(False)
# states = [model.h0.requires_grad_(), model.c0.requires_grad_()]
# optimizer = torch.optim.Adam(states, lr=0.1)
# ```
#
# **Keras.** A learned start; `initial_state` takes `[h, c]`. (Carried: `keras.layers.LSTM(hidden_size, stateful=True)`, and `layer.reset_state()` before another series.)
#
# ```python
# import keras
#
#
# @keras.saving.register_keras_serializable()
# class LearnedStart(keras.layers.Layer):
#     def __init__(self, units, **options):
#         super().__init__(**options)
#         self.units = units
#
#     def build(self, input_shape):
#         self.h0 = self.add_weight(shape=(1, self.units), initializer="zeros", name="h0")
#         self.c0 = self.add_weight(shape=(1, self.units), initializer="zeros", name="c0")
#
#     def call(self, x):
#         column = keras.ops.zeros_like(x[:, 0, :1])  # (B, 1): repeats the row for each sequence
#         return [self.h0 + column, self.c0 + column]
#
#     def get_config(self):
#         return {**super().get_config(), "units": self.units}
#
#
# x = keras.Input((None, input_size))
# start = LearnedStart(hidden_size)(x)
# outputs = keras.layers.LSTM(hidden_size, return_sequences=True)(x, initial_state=start)
# model = keras.Model(x, outputs)
# ```
#
# ### What to use
#
# Gains are changes of the held-out loss against zeros, with 95 % intervals over 16 seeds; negative is better.
#
# | your data and purpose | what to use | expected gain |
# |---|---|---|
# | many sequences, a learning rate that you tune | zeros | no other start ended better by its interval on any of four tasks; a learned one gained 1 % on sunspots in section 10 |
# | many sequences, a small rate (0.001) | a learned start, if you can try it | sunspots -0.015 (-0.016 to -0.013), a tenth; names +0.001 (0.000 to 0.003), digits +0.001 (-0.001 to 0.004), Shakespeare +0.002 (0.000 to 0.005) |
# | the same, in a hurry | a learned start at ten times the rate | updates saved to 90 % of the gain, at 0.003: sunspots 15 % (11 to 18), Shakespeare 4 % (3 to 6), names 2 % (-0 to 5) |
# | few sequences (16 to 128), texts | noise of 1, and stop in time | 128 windows of Shakespeare: -0.065 (-0.076 to -0.054); 128 names: -0.023 (-0.030 to -0.016) |
# | one long series, used without a break | carry | Shakespeare, windows of 5: -0.037 (-0.043 to -0.030), of 10: -0.020 (-0.028 to -0.013), of 25: nothing |
# | one long series, used from cold starts | zeros, and do not carry | carrying costs 0.13 (0.11 to 0.14), 0.06 (0.06 to 0.07) and 0.04 (0.03 to 0.05) with windows of 5, 10 and 25 |
# | the start may be wrong in use | noise as large as the disturbance | names, N(0, 1): +0.013 (0.011 to 0.015) instead of +0.15 (0.14 to 0.16) |
# | the past of each window is known | a warm-up, or an inferred state | sunspots: -0.009 (-0.010 to -0.007), -0.010 (-0.011 to -0.009); of 0.126 |
# | a trained network, other data, no retraining | tune the state alone, at 0.1 | names: -0.18 nats (-0.19 to -0.18) with 4,131, -0.10 (-0.12 to -0.08) with 50 |
#
# What these numbers cannot say: all networks are small LSTMs with one layer; the intervals are about seeds, on one split of each data set; the best rates were chosen for zeros, on the same held-out data, which if anything favours zeros; and of so many intervals at 95 % some miss by chance. `tk.GRU`, `tk.RNN` and the cells have the same `initial_state`: `tk.compare` tells on your data.

# %% [markdown]
# ## What you saw
#
# - **Frameworks** start at zero, and at the best learning rates no other start was clearly better on names, sunspots, digits or Shakespeare. At small rates a learned start gains at the first step, and some updates. With 16 sequences it overfits the first step, unless training stops in time.
# - **Noise** raises the loss of the first step, regularises where texts are few, and buys robustness against wrong starts. A network forgets its start within a few steps, the sooner the more input drives it.
# - **Learned** starts have traps that raise no error; **carried** ones suit long runs, zeros cold starts; and where the past is known, a warm-up or an **inferred** state brings it in.
#
# **Sources.** S. Pitis, Non-zero initial states for recurrent neural networks (r2rt.com, 2016; its argument and conclusions are quoted here from pages that cite it). [Stack Overflow 49223976](https://stackoverflow.com/questions/49223976/). F. Gers, N. Schraudolph, J. Schmidhuber, Learning precise timing with LSTM recurrent networks, JMLR 3 (2002) (a learned state).
# H.-G. Zimmermann, C. Tietz, R. Grothmann, Forecasting with recurrent neural networks: 12 tricks, in Neural Networks: Tricks of the Trade, 2012 (from second hand). I. Yildiz, H. Jaeger, S. Kiebel, Re-visiting the echo state property, 2012.
# N. Mohajerin, S. Waslander, [State initialization for recurrent neural network modeling of time-series data](https://doi.org/10.1109/ijcnn.2017.7966138), IJCNN 2017. RWKV: README and code of BlinkDL/RWKV-LM (state tuning). Mamba-2: `mamba_ssm/modules/mamba2_simple.py` (`learnable_init_states`).
#
# Previous: [02 Weight initialization](02_weight_initialization.ipynb) · Next: [04 Exploding gradients](04_exploding_gradients.ipynb)
