"""SIGTERM becomes a request, once for a whole run."""

import os
import signal

import pytest

from trainers.harness import signals


def test_a_request_is_made_and_the_former_handler_comes_back():
  before = signal.getsignal(signal.SIGTERM)
  with signals.on_sigterm() as request:
    assert not request.made
    os.kill(os.getpid(), signal.SIGTERM)
    assert request.made
  assert signal.getsignal(signal.SIGTERM) is before
  with signals.on_sigterm() as request:
    assert not request.made


def test_an_inner_context_has_the_request_of_the_outer():
  with signals.on_sigterm() as outer:
    os.kill(os.getpid(), signal.SIGTERM)
    with signals.on_sigterm() as inner:
      assert inner is outer
    assert signal.getsignal(signal.SIGTERM) is outer


def test_held_back_it_reaches_the_handler_from_before():
  others = []
  with signals.on_sigterm() as request:
    with signals.held_back():
      signal.signal(signal.SIGTERM, lambda *_: others.append(1))
      signal.raise_signal(signal.SIGTERM)  # to this thread; any other could take it
      assert not request.made
    assert request.made
  assert not others


def test_a_run_that_was_asked_to_stop_does_not_begin():
  signals.stop_if_asked()
  with signals.on_sigterm():
    signals.stop_if_asked()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(signals.TerminatedError, match='before anything was computed'):
      signals.stop_if_asked()
