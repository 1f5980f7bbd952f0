"""The key of the closing quiz, and what it says to each answer; chapter 06 holds the questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One question: about which chapters, its right letter, and what to say to each letter."""

    about: str
    right: str
    says: Mapping[str, str]


QUESTIONS = {
    1: Question(
        "00, 01",
        "b",
        {
            "a": "The second vector is there for cuDNN, but it is no copy: PyTorch adds the two "
            "(chapter 01, section 3).",
            "b": "The two vectors are added. Write the bias into one and clear the other "
            "(chapter 04, section 8).",
            "c": "That is what comes of writing one vector and leaving the other as it was drawn. "
            "Here both were written, and they are added (chapter 01, section 3).",
        },
    ),
    2: Question(
        "00, 01",
        "d",
        {
            "a": "The gradients at the start are nearly the same, and yet 0 to 6 of 16 seeds learn "
            "with random biases, 9 to 16 with zeros (chapter 01, section 5).",
            "b": "The random matrices make the units differ already. With random biases 0 to 6 of "
            "16 seeds learn, with zeros 9 to 16 (chapter 01, section 5).",
            "c": "2 is the safe choice, but with all other biases at 0 a bias of 1 is enough for "
            "9 to 16 of 16 seeds, depending on the learning rate (chapter 01, section 5).",
            "d": "9 to 16 of 16 seeds learn with zeros, 0 to 6 with random biases "
            "(chapter 01, section 5).",
        },
    ),
    3: Question(
        "02",
        "a",
        {
            "a": "Layers draw a new matrix each; steps use one again and again. Of twenty such "
            "networks twelve lost more than 90 % and three grew more than tenfold "
            "(chapter 02, section 2).",
            "b": "Many steps alone do no harm: with an orthogonal matrix the state of a linear "
            "network keeps its size at every step (chapter 02, section 2).",
            "c": "Xavier's variance is 1/n for a square matrix, and its states do not hold either: "
            "twenty linear networks ended between 0.2 and 2e7 (chapter 02, section 2).",
        },
    ),
    4: Question(
        "02",
        "c",
        {
            "a": "The columns of the stacked matrix have length 1 over all its rows, so over the "
            "rows of one gate they are shorter: a block keeps no norm (chapter 02, section 3).",
            "b": "A part of a matrix that keeps norms cannot stretch anything: the block shrinks. "
            "Its spectral radius is about one half (chapter 02, section 3).",
            "c": "To have orthogonal gates, make each gate orthogonal by itself "
            "(chapter 02, section 3), as Flax does (chapter 01, section 3).",
        },
    ),
    5: Question(
        "03",
        "a",
        {
            "a": "States that are passed take the place of h0 and c0, which have no part in the "
            "loss then (chapter 03, section 9).",
            "b": "They do not learn at all: the states that are passed take their place, and the "
            "gradient stays None (chapter 03, section 9).",
            "c": "No error: an optimiser skips parameters whose gradient is None. That is why this "
            "trap is so hard to see (chapter 03, section 9).",
            "d": "Nothing pulls them: they have no part in the loss, and an optimiser skips "
            "parameters whose gradient is None, with its weight decay (chapter 03, section 9).",
        },
    ),
    6: Question(
        "03",
        "d",
        {
            "a": "A network does forget its start in a few steps, but a window of 5 is hardly "
            "longer: carrying gained 0.037 nats in the long run (chapter 03, section 6).",
            "b": "Not at cold starts. There it lost 0.13 nats: such a network has hardly ever seen "
            "a start (chapter 03, section 6).",
            "c": "The weights do change from window to window, but in the long run carrying was "
            "0.037 nats ahead all the same (chapter 03, section 6).",
            "d": "0.037 nats better in the long run and 0.13 worse at cold starts; both shrink as "
            "windows get longer (chapter 03, section 6).",
        },
    ),
    7: Question(
        "04",
        "c",
        {
            "a": "That is what the eigenvalue promises, and about what a linear network does. With "
            "tanh and this input the gradient got about 50 million times smaller "
            "(chapter 04, section 2).",
            "b": "Nothing keeps the two in balance: from a random state tanh left a gradient about "
            "4 times smaller without input, and with it about 50 million times "
            "(chapter 04, section 2).",
            "c": "About 50 million times smaller, over 100 networks. For tanh a radius above 1 "
            "makes gradients explode only next to the state 0 (chapter 04, section 2).",
        },
    ),
    8: Question(
        "04",
        "b",
        {
            "a": "It bounds what one step can do in its worst direction. A random Gaussian matrix "
            "of radius 1 has a sigma_max near 2, and does not explode (chapter 04, section 3).",
            "b": "Below 1 nothing can explode; above 1 everything is still open "
            "(chapter 04, section 3).",
            "c": "The matrix A had a sigma_max of about 5.2, and its powers died all the same. "
            "(What is sufficient for vanishing is a product below 1.) (chapter 04, section 3)",
            "d": "Eigenvalues decide for a linear network in the long run. With tanh a network "
            "whose eigenvalues are both 0 doubled its gradient (chapter 04, section 4).",
        },
    ),
    9: Question(
        "05",
        "d",
        {
            "a": "That is global_clipnorm: one norm over all variables, one factor for all "
            "(chapter 05).",
            "b": "Both do end at length 1, but they were 5 and 12 long. Where their ratio changes, "
            "the direction of the whole changes (chapter 05).",
            "c": "That is clipvalue, which cuts each number by itself (chapter 05).",
            "d": "5 and 12 become 1 and 1: the whole turns, to a cosine of 0.92 with what it was. "
            "One norm over all variables keeps the direction (chapter 05).",
        },
    ),
    10: Question(
        "05",
        "b",
        {
            "a": "With SGD it would be. Adam divides each gradient by the running root mean square "
            "of its own past, which is 1,000 times smaller as well (chapter 05).",
            "b": "Adam divides each gradient by the running root mean square of its own past, so a "
            "constant factor cancels, up to Adam's epsilon (chapter 05).",
            "c": "A constant factor cancels in Adam. Clipping is no constant factor: it makes some "
            "steps count less against the others (chapter 05).",
        },
    ),
    11: Question(
        "06",
        "c",
        {
            "a": "The weights have not seen it, but the choice has: the best of five rates is also "
            "the luckiest on these very data (chapter 02, section 4).",
            "b": "Seeds average out the luck of weights and batches. All of them are judged on the "
            "same test part, and the choice was fitted to that (chapter 02, section 4).",
            "c": "Choose on a validation part, and look at the test part once. Where this book "
            "chose on held-out data, it says so (chapter 02, section 4).",
            "d": "The other way round: the best of five was partly lucky, so on new data expect a "
            "larger error (chapter 02, section 4).",
        },
    ),
    12: Question(
        "06",
        "a",
        {
            "a": "Repeating the last month explains more than 85 % of the variance of the last "
            "fifth of the series (of square roots). Ask first what simple rules do (chapter 06).",
            "b": "Repeating the last month does as much: it explains more than 85 % of the "
            "variance of the last fifth of the series (of square roots) (chapter 06).",
            "c": "One month ahead takes little memory (chapter 04, section 9): the last month "
            "alone explains most of the variance.",
            "d": "Overfitting shows as a gap between training and held-out error, and this is one "
            "number. On held-out months the simplest rule explains as much (chapter 06).",
        },
    ),
    13: Question(
        "across",
        "c",
        {
            "a": "At the best rate of zeros none of 24 comparisons ended better than zeros "
            "(chapter 03, section 3).",
            "b": "It did something: a tenth of the loss at 0.001, and fewer updates on sunspots at "
            "the best rate, too (chapter 03, section 3).",
            "c": "What a better start tells a network, its weights can learn as well, given time "
            "or a larger rate (chapter 03, section 4). The rate was worth as much as the best "
            "matrix, too (chapter 02, section 4).",
            "d": "The better rate was worth more than the start: 0.17 nats on names, 0.57 on "
            "digits (chapter 03, section 3).",
        },
    ),
    14: Question(
        "across",
        "b",
        {
            "a": "They decide for a linear network. In that of the book both were 0, whatever the "
            "start (chapter 04, section 4).",
            "b": "The slope of tanh is 1 - h^2, so every Jacobian on the way depends on where the "
            "network is, and that on where it started (chapter 04, section 4).",
            "c": "The start is no term of the gradient. It decides through which states, and so "
            "through which Jacobians, the gradient travels (chapter 04, section 4).",
            "d": "Rounding threw the network of the book off its path only after some 40 steps; "
            "its gradient doubled at every one of them (chapter 04, section 4).",
        },
    ),
}
