"""Exercises that check themselves: `tk.check.<exercise>(answer)` says and draws what it found.

An unanswered exercise (`...`) is open, never an error; a typical wrong answer gets the hint that is
meant for it; anything else gets the numbers of what was handed in.
"""

from __future__ import annotations

from . import (
    buggy_listing,
    error_hooks,
    exploding_gradients,
    forecasting,
    framework_defaults,
    gradient_clipping,
    initial_states,
    leaks,
    memory_biases,
    quiz,
    saved_forecast,
    start_here,
    state_noise,
    state_optimizers,
    tf1_weights,
    training_loop,
    weight_initialization,
)
from .feedback import Feedback

__all__ = ["Checks", "Feedback", "check"]


class Checks:
    """The checks of all chapters, one method an exercise."""

    half_after_50 = staticmethod(start_here.half_after_50)

    default_bound = staticmethod(framework_defaults.default_bound)
    forget_like_keras = staticmethod(framework_defaults.forget_like_keras)
    from_tf1 = staticmethod(tf1_weights.from_tf1)

    he_std = staticmethod(weight_initialization.he_std)
    orthogonal_gates = staticmethod(weight_initialization.orthogonal_gates)
    chrono = staticmethod(memory_biases.chrono)
    remember_gru = staticmethod(memory_biases.remember_gru)

    state_size = staticmethod(initial_states.state_size)
    learned_start = staticmethod(initial_states.learned_start)
    noise_std = staticmethod(state_noise.noise_std)
    spot_the_bugs = staticmethod(buggy_listing.spot_the_bugs)
    state_groups = staticmethod(state_optimizers.state_groups)

    rescale = staticmethod(exploding_gradients.rescale)
    hidden_growth = staticmethod(exploding_gradients.hidden_growth)
    exploding_sigmoid = staticmethod(exploding_gradients.exploding_sigmoid)
    horizon_100 = staticmethod(exploding_gradients.horizon_100)

    clip_by_norm = staticmethod(gradient_clipping.clip_by_norm)
    direction = staticmethod(gradient_clipping.direction)
    where_to_clip = staticmethod(training_loop.where_to_clip)
    threshold = staticmethod(gradient_clipping.threshold)
    error_hook = staticmethod(error_hooks.error_hook)

    seasonal_naive = staticmethod(forecasting.seasonal_naive)
    leaks = staticmethod(leaks.leaks)
    same_forecast = staticmethod(saved_forecast.same_forecast)
    quiz = staticmethod(quiz.quiz)


check = Checks()
