"""The machinery that every lab shares: bind controls to a pure function and draw its result live.

A lab is a `Spec`: controls, `compute(settings) -> result`, a `Picture` that draws a result, and one
`sentence(result)`. This module adds the widgets (core ones, of ipywidgets 7.7 and 8), training in
the background, Reset, Save, the settings line and the poster that a saved notebook shows.

A control draws before its message is answered, and ipywidgets sends the next move only then:
moves made meanwhile are folded into one, the last one wins, and nothing queues up.
"""

from __future__ import annotations

import html
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from ..device import threads
from ..errors import check_choice
from ..pictures import display_markdown, display_png, posters_wanted
from .canvas import Canvas, error_html, image_html, sentence_html, sentences_markdown, stack
from .spec import Settings, Spec, Training

_FRAME_SECONDS = 0.15  # between two pictures of a training in the background
_STOP_SECONDS = 0.4  # that Stop waits for the last picture; a longer step ends by itself


class Lab:
    """A lab on the screen. Display it in a notebook; move its sliders; press its buttons.

    show: names of the controls to show, None for all. The lab keeps `settings`, `result` (of the
    last compute) and `error` and `training_error` (None, or what went wrong last).
    """

    def __init__(self, spec: Spec, settings: Settings, show: Sequence[str] | None = None) -> None:
        self.spec = spec
        self.start = spec.check(settings)
        self.settings = dict(self.start)
        # What a place aside is left for, and what was entered there: where the lab opens in one,
        # the settings that nobody moved to fit.
        self._opened = {**spec.defaults, **{name: self.start[name] for name in settings}}
        self._outside, self._entered = self._opened, self.start
        self.error: BaseException | None = None
        self.training_error: BaseException | None = None
        self.result: Any = None
        self.worker: threading.Thread | None = None
        self._canvas: Canvas | None = None
        self._stop = threading.Event()
        self._moving = False
        self._show = [c.name for c in spec.controls] if show is None else list(dict.fromkeys(show))
        for name in self._show:
            check_choice("show", name, self.start)
        # A lab that hides what a training needs has none.
        needs = [] if spec.training is None else spec.training.needs
        self.training = spec.training if set(needs) <= set(self._show) else None
        self._widget: widgets.Widget | None = None

    # -- what a reader sees -------------------------------------------------------------------

    @property
    def sentence(self) -> str:
        """The current settings in words."""
        if self.result is None:
            self.result = self.spec.compute(self.settings)
        return self.spec.sentence(self.result)

    @property
    def _changed(self) -> Settings:
        return {k: v for k, v in self.settings.items() if v != self.spec.defaults[k]}

    @property
    def settings_line(self) -> str:
        """One line of Python that recreates this lab."""
        given = [self.spec.arguments] if self.spec.arguments else []
        given += [
            f"{k}={round(v, 6) if isinstance(v, float) else v!r}" for k, v in self._changed.items()
        ]
        if self._show != [c.name for c in self.spec.controls]:
            given.append(f"show={self._show}")
        return f"tk.labs.{self.spec.name}({', '.join(given)})"

    def __repr__(self) -> str:
        return self.settings_line

    def _ipython_display_(self) -> None:
        if posters_wanted():
            text = self.poster_text()
            display_png(self.poster_png(), text)
            display_markdown(sentences_markdown(text.splitlines()), text)
        else:
            from IPython.display import display

            display(self.widget)

    def poster_png(self) -> bytes:
        """Return the still picture that a saved notebook shows: low, critical and high settings."""
        canvas = Canvas(self.spec.picture())
        with threads(1):
            return stack([canvas.png(self.spec.compute(s)) for s in self._poster_settings()])

    def poster_text(self) -> str:
        """Return the sentences of the poster, its text for those who do not see it."""
        return "\n".join(self.spec.sentence(self.spec.compute(s)) for s in self._poster_settings())

    def _poster_settings(self) -> list[Settings]:
        return [self.spec.check({**self.start, **p}) for p in self.spec.posters(self.start)]

    # -- widgets ------------------------------------------------------------------------------

    @property
    def widget(self) -> widgets.Widget:
        """The lab as a widget, built on first use."""
        if self._widget is None:
            self._widget = self._build()
            self._set_controls(self.settings)
            self._redraw()
        return self._widget

    def _build(self) -> widgets.Widget:
        self.controls = {c.name: c.widget() for c in self.spec.controls}
        for control in self.controls.values():
            control.observe(self._moved, "value")
        self.view = widgets.HTML()
        self.message = widgets.HTML()
        buttons = [_button("Reset", "undo", self.reset), _button("Save", "download", self.save)]
        below: list[widgets.Widget] = []
        if self.training is not None:
            self.train_button = _button("Train now", "play", self.train)
            self.stop_button = _button("Stop", "stop", self.stop, disabled=True)
            self.progress = widgets.FloatProgress(
                min=0, max=1, description="", layout=widgets.Layout(width="180px")
            )
            self.estimate = widgets.HTML()
            self.training_view = widgets.HTML()
            buttons = [self.train_button, self.stop_button, *buttons, self.progress, self.estimate]
            below = [self.training_view]
        row = widgets.Layout(flex_flow="row wrap", align_items="center")
        shown = [self.controls[name] for name in self._show]
        if len(shown) == 1:  # on a longer track, a hand finds 0.90 and 1.10
            shown[0].layout.width, shown[0].layout.max_width = "600px", "100%"
        return widgets.VBox(
            [
                widgets.Box(shown, layout=row),
                self.view,
                widgets.Box(buttons, layout=row),
                self.message,
                *below,
            ]
        )

    def _set_controls(self, settings: Settings) -> None:
        """Put settings into the controls without a redraw for each."""
        self._moving = True
        try:
            limits = self.spec.limits(settings)
            for control in self.spec.controls:
                name = control.name
                control.put(self.controls[name], settings[name], limits.get(name))
        finally:
            self._moving = False

    def _moved(self, _: Any) -> None:
        """React to a control with the values of all of them."""
        if self._moving:
            return
        given = {c.name: c.read(self.controls[c.name]) for c in self.spec.controls}
        try:
            self.settings = self._fitted(given)
            self._set_controls(self.settings)
            self._redraw()
        except Exception as error:
            self._report(error)

    def _fitted(self, given: Settings) -> Settings:
        """Return what fits, with the values from before a place aside that the reader leaves."""
        inside, outside = self.spec.aside(self.settings), self._outside
        if inside and not self.spec.aside(given):
            given = {n: outside[n] if v == self._entered[n] else v for n, v in given.items()}
        found = self.spec.fit(given)
        if self.spec.aside(found) and not inside:
            self._outside, self._entered = self.settings, found
        return found

    def _redraw(self) -> None:
        try:
            # One thread: beside a browser, waiting for a second one can take seconds.
            with threads(1):
                self.result = self.spec.compute(self.settings)
            if self._canvas is None:
                self._canvas = Canvas(self.spec.picture())
            text = self.spec.sentence(self.result)
            picture = image_html(self._canvas.png(self.result), text)
            self.view.value = picture + sentence_html(text, self.settings_line)
            self.message.value = ""
            self.error = None
            self._show_estimate()
        except Exception as error:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        """Tell the learner in one sentence; keep the error for whoever tests or debugs the lab."""
        self.error = error
        self.trace = "".join(traceback.format_exception(error))
        self.message.value = error_html(error)

    # -- buttons ------------------------------------------------------------------------------

    def reset(self, _: Any = None) -> None:
        """Return to the settings and the seed that the lab started with."""
        _ = self.widget
        self.stop()
        self._stop = threading.Event()  # what was stopped has nothing more to show
        self.settings = dict(self.start)
        self._outside, self._entered = self._opened, self.start
        self.message.value = ""
        if self.training is not None:
            self.training_view.value = self.estimate.value = ""
            self.progress.value = 0.0
        self._set_controls(self.settings)
        self._redraw()

    def save(self, folder: Any = None) -> list[Path]:
        """Write the picture as PNG and its numbers as CSV into the current folder."""
        target = Path(folder) if isinstance(folder, (str, Path)) else Path.cwd()
        _ = self.widget
        if self.error is not None:
            return []  # the picture and the settings do not belong together
        try:
            stem = target / self._file_stem()
            files = [stem.with_name(stem.name + end) for end in (".png", ".csv")]
            assert self._canvas is not None
            files[0].write_bytes(self._canvas.png(self.result))
            self.spec.table(self.result).to_csv(files[1], index=False)
            names = " and ".join(html.escape(f.name) for f in files)
            self.message.value = f"Saved {names}."
            return files
        except Exception as error:
            self._report(error)
            return []

    def _file_stem(self) -> str:
        parts = [
            f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in self._changed.items()
        ]
        return "_".join([self.spec.name, *parts]).replace(" ", "-").replace("/", "-")

    def train(self, _: Any = None) -> None:
        """Train for the current settings in the background; the sliders stay usable."""
        if self.training is None:
            raise ValueError(f"The lab {self.spec.name} has nothing to train.")
        _ = self.widget
        if self.worker is not None and self.worker.is_alive():
            return
        self._stop = threading.Event()
        self.message.value = ""
        self.training_error = None
        work = (self.training, Canvas(self.training.picture()), dict(self.settings), self._stop)
        self.train_button.disabled, self.stop_button.disabled = True, False
        self.estimate.value, self.progress.value = "starting ...", 0.0
        self.worker = threading.Thread(target=self._train, args=work, daemon=True)
        self.worker.start()

    def stop(self, _: Any = None) -> None:
        """Stop the training in the background and keep what it reached."""
        self._stop.set()
        if self.worker is not None and self.worker is not threading.current_thread():
            self.worker.join(timeout=_STOP_SECONDS)

    def _train(
        self, training: Training, canvas: Canvas, settings: Settings, stop: threading.Event
    ) -> None:
        start = last = time.perf_counter()
        done, result = 0.0, None

        def show(ended: str = "") -> None:
            text = training.sentence(result)
            seconds = time.perf_counter() - start
            # Before a twentieth is done, most of the time went into starting.
            left = f"about {_duration(seconds * (1 - done) / done)} left" if done > 0.05 else ""
            shown = image_html(canvas.png(result), text) + sentence_html(text)
            if stop is not self._stop:
                return  # Reset has cleared what was here
            self.progress.value = done
            self.estimate.value = ended or left or "starting ..."
            self.training_view.value = shown

        try:
            for done, result in training.start(settings):  # noqa: B007 (show reads both)
                if stop.is_set():
                    break
                now = time.perf_counter()
                if now - last >= _FRAME_SECONDS:
                    show()
                    last = time.perf_counter()
                    time.sleep(0.002)  # let a waiting slider in
            self.estimate.value = ""
            if result is not None:
                took = _duration(time.perf_counter() - start)
                show(f"stopped after {took}" if stop.is_set() else f"done in {took}")
        except Exception as error:
            if stop is self._stop:  # and Reset has not cleared it
                self.training_error, self.estimate.value = error, ""
                self.training_view.value += error_html(error)
        finally:
            self.train_button.disabled, self.stop_button.disabled = False, True

    def _show_estimate(self) -> None:
        training = self.training
        if training is None or (self.worker is not None and self.worker.is_alive()):
            return
        self.estimate.value = f"takes about {_duration(training.seconds(self.settings))} here"


def _button(
    label: str, icon: str, action: Callable[[Any], Any], disabled: bool = False
) -> widgets.Button:
    button = widgets.Button(
        description=label, icon=icon, disabled=disabled, layout=widgets.Layout(width="auto")
    )
    button.on_click(action)
    return button


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{seconds / 60:.0f} min"
